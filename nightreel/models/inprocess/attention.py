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

from nightreel.models.memory.shapes import aligned

NAME = "nightreel_grouped_sdpa"


def use_grouped_attention(model: Any) -> None:
    """Switch the language side of a model from SDPA to grouped attention; other attention stays unchanged."""
    if model.config.get_text_config()._attn_implementation != "sdpa":
        return
    AttentionInterface.register(NAME, grouped_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation({"text_config": NAME})


def additive_mask(model: Any, mask: torch.Tensor) -> torch.Tensor:
    """A mask (B, Q, K), true where a token may attend, as all layers of the language side take it: made once for all.

    It is added to the scores, as SDPA would convert a boolean mask in every layer; it is repeated for the query heads
    of a group; and its rows are aligned, as SDPA's kernels would copy others in every layer.
    """
    config = model.config.get_text_config()
    key_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    groups = config.num_attention_heads // key_heads if config._attn_implementation == NAME else 1
    batch, length, width = mask.shape
    low = torch.finfo(model.dtype).min
    made = mask.new_full((batch, 1, groups * length, aligned(width)), low, dtype=model.dtype)
    made = made[..., :width]
    made.masked_fill_(mask.repeat(1, groups, 1)[:, None], 0.0)
    return made


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
        attention_mask: from `additive_mask`; None for causal attention.

    Returns:
        (B, Q, heads, D), and no weights.
    """
    batch, heads, length, size = query.shape
    groups = heads // key.shape[1]
    if attention_mask is not None and attention_mask.shape[2] != groups * length:  # a layer with other groups
        attention_mask = attention_mask[:, :, :length].repeat(1, 1, groups, 1)
    if attention_mask is None or groups == 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    output = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(batch, key.shape[1], groups * length, size),
        key,
        value,
        attn_mask=attention_mask,
        scale=scaling,
    )
    return output.reshape(batch, heads, length, -1).transpose(1, 2).contiguous(), None
