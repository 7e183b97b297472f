"""Attention that trains fast on a CPU: two plain matrix products in bfloat16.

The backward pass of PyTorch's fused attention on CPUs takes several times as long at these sizes. The numbers differ
in the last bit of bfloat16. The trained model works with any attention.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface

_NAME = "nightreel_plain_products"


def use_plain_products(model: Any) -> None:
    """Switch a model to this attention."""
    AttentionInterface.register(_NAME, plain_products)
    model.set_attn_implementation(_NAME)


def plain_products(
    module: torch.nn.Module,  # noqa: ARG001 - part of the interface
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,  # noqa: ARG001
) -> tuple[torch.Tensor, None]:
    """Attention with the interface of transformers.

    Args:
        query, key, value: (B, heads, L, D).
        attention_mask: bfloat16 (B, 1, L, L), added to the scores; None if a query may attend to every position.

    Returns:
        (B, L, heads, D), and None in place of the attention weights.
    """
    usual = query.dtype
    with torch.autocast(query.device.type, enabled=False):
        query, key, value = (one.to(torch.bfloat16) for one in (query, key, value))
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        scores = torch.matmul(query * scale, key.transpose(-1, -2))
        if attention_mask is not None:
            scores += attention_mask
        return torch.matmul(scores.softmax(-1), value).transpose(1, 2).to(usual), None
