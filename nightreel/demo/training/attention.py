"""Attention that is fast to train on a CPU: two plain matrix products in bfloat16.

The backward pass of PyTorch's fused attention on CPUs takes several times as long at these sizes. The numbers differ
in bfloat16's last bit; the model that comes out is used with any attention.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface

_NAME = "nightreel_plain_products"


def use_plain_products(model: Any) -> None:
    """Train this model with it."""
    AttentionInterface.register(_NAME, plain_products)
    model.set_attn_implementation(_NAME)


def plain_products(
    module: torch.nn.Module,  # noqa: ARG001 - the interface's
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,  # noqa: ARG001
) -> tuple[torch.Tensor, None]:
    """Attention as transformers' interface wants it.

    Args:
        query, key, value: (B, heads, L, D).
        attention_mask: bfloat16 (B, 1, L, L), added to the scores; None where a query may look everywhere.

    Returns:
        (B, L, heads, D), and no weights.
    """
    usual = query.dtype
    with torch.autocast(query.device.type, enabled=False):
        query, key, value = (one.to(torch.bfloat16) for one in (query, key, value))
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        scores = torch.matmul(query * scale, key.transpose(-1, -2))
        if attention_mask is not None:
            scores += attention_mask
        return torch.matmul(scores.softmax(-1), value).transpose(1, 2).to(usual), None
