"""Attention of a vision tower over windows of patches, with one call for all windows of equal length.

Some towers attend within frames or smaller windows, given as offsets (`cu_seqlens`). Without FlashAttention,
transformers calls SDPA once for each window: thousands of times per segment. `local` installs this module in towers
that were loaded with SDPA.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from itertools import pairwise
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "nightreel_windows_like_flash"
"""transformers passes all windows in one call only to implementations with "flash" in their name."""

_layouts: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""The layout of the windows by the tensor of their offsets: all layers get the same one, and reading it is a sync."""


def use_windowed_attention(model: Any) -> None:
    """Switch a vision tower with windows from SDPA to windowed attention; other towers stay unchanged."""
    tower = getattr(model.config, "vision_config", None)
    if tower is None or tower._attn_implementation != "sdpa" or not _has_windows(model):
        return
    AttentionInterface.register(NAME, windowed_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation({"vision_config": NAME})


def _has_windows(model: Any) -> bool:
    decoder = set(model.get_decoder().modules())
    return any(
        "cu_seqlens" in inspect.signature(type(module).forward).parameters
        for module in model.modules()
        if module not in decoder
    )


def windowed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention with the signature of transformers' interface.

    Args:
        query, key, value: (1, heads, L, D).
        cu_seq_lens_q: where each window starts, and L; None for attention without windows.

    Returns:
        (1, L, heads, D), and no weights.
    """
    if cu_seq_lens_q is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    layout = _layout(cu_seq_lens_q)
    if len(layout) == 1:  # all windows are equal: no copies
        return _attend(query[0], key[0], value[0], layout[0].shape, scaling).flatten(0, 1)[None], None
    output = torch.empty_like(query[0].transpose(0, 1))  # (L, heads, D)
    for places in layout:
        flat = places.flatten()
        own_query, own_key, own_value = (tensor[0].index_select(1, flat) for tensor in (query, key, value))
        output[flat] = _attend(own_query, own_key, own_value, places.shape, scaling).flatten(0, 1)
    return output[None], None


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, shape: torch.Size, scaling: float | None
) -> torch.Tensor:
    """Attention (n, window, heads, D) within n windows of the same length, for tensors (heads, n x window, D)."""
    query, key, value = (tensor.unflatten(1, shape).transpose(0, 1) for tensor in (query, key, value))
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=scaling).transpose(1, 2)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _layout(offsets: torch.Tensor) -> list[torch.Tensor]:
    """The places (n, window) of the patches of all windows of one length, for each length."""
    if offsets not in _layouts:
        starts: dict[int, list[int]] = defaultdict(list)
        for start, end in pairwise(offsets.tolist()):
            if end > start:
                starts[end - start].append(start)
        _layouts[offsets] = [
            (torch.tensor(own)[:, None] + torch.arange(length)).to(offsets.device) for length, own in starts.items()
        ]
    layout: list[torch.Tensor] = _layouts[offsets]
    return layout
