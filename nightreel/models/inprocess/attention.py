"""Grouped-query attention under a mask, without repeating keys and values for every query head.

With a mask, transformers' SDPA copies the whole cache for each query head and step. This module concatenates the query
heads of a group along the sequence instead, which gives the same numbers without a copy. `local` installs it in the
language side of models loaded with SDPA; `packed` needs it.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "nightreel_grouped_sdpa"


def use_grouped_attention(model: Any) -> None:
    """Switch the language side of a model from SDPA to grouped attention; other attention stays unchanged."""
    if model.config.get_text_config()._attn_implementation != "sdpa":
        return
    AttentionInterface.register(NAME, grouped_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation({"text_config": NAME})


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention with the signature of transformers' interface.

    Args:
        query: (B, heads, Q, D); key, value: (B, key heads, K, D).
        attention_mask: (B, 1, Q, K), true or 0 where a query may attend; None for causal attention.

    Returns:
        (B, Q, heads, D), and no weights.
    """
    batch, heads, length, size = query.shape
    groups = heads // key.shape[1]
    if attention_mask is None or attention_mask.shape[1] != 1 or groups == 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    output = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(batch, key.shape[1], groups * length, size),
        key,
        value,
        attn_mask=attention_mask.repeat(1, 1, groups, 1),
        scale=scaling,
    )
    return output.reshape(batch, heads, length, -1).transpose(1, 2).contiguous(), None
