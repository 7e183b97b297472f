"""Beam search for one question, with generate() on a copy of the segment's cache.

`packed` and `copies` call it for the rare rows with beams; all other rows are decoded together.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache

from nightreel.models.inprocess.prefix import Row, as_position_ids, positions_of
from nightreel.models.inprocess.tensors import Tensors


@torch.inference_mode()
def search_beams(
    model: Any, row: Row, *, tensors: Tensors, cache: Cache, end_ids: frozenset[int]
) -> tuple[tuple[int, ...], bool]:
    """Return the tokens of the likeliest text, and whether an end token ended it.

    Args:
        tensors: of the row's segment.
        cache: of the segment's prefix, batch size 1. It is modified.
    """
    beams = row.decoding.beams
    prefix = tensors["input/prefix_ids"]
    ids = torch.cat([prefix, prefix.new_tensor(row.suffix)])
    positions = positions_of(tensors)
    after = positions[:, -1:] + torch.arange(len(row.suffix), device=ids.device)
    cache.reorder_cache(torch.zeros(beams, dtype=torch.long, device=ids.device))  # type: ignore[arg-type]
    output = model.generate(
        input_ids=ids[None],
        attention_mask=torch.ones_like(ids)[None],
        position_ids=as_position_ids(torch.cat([positions[:, :-1], after], dim=1)[:, None]),
        past_key_values=cache,
        num_beams=beams,
        do_sample=False,
        max_new_tokens=row.max_new_tokens,
        repetition_penalty=row.decoding.repetition_penalty,
        eos_token_id=sorted(end_ids),
    )
    text = output[0, len(ids) :].tolist()
    ends = [place for place, token in enumerate(text) if token in end_ids]
    return tuple(text[: ends[0]] if ends else text), bool(ends)
