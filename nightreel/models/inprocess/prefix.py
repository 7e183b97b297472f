"""What branches off a segment's video: the words shared by the two ways of asking many questions after one prefill.

`packed.PackedPrefix` keeps the keys and values of the video once and packs all questions into one sequence;
`copies.CopiedPrefix` copies them for each question, for models whose cache is no plain list of keys and values.
`local` picks one by `is_plain`. Neither knows prompts, only tokens: a Row goes in, Scores come out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from nightreel.domain import GREEDY, Decoding
from nightreel.models.inprocess.attention import NAME
from nightreel.models.inprocess.vision import Tensors


@dataclass(frozen=True, slots=True)
class Row:
    """One question of one segment.

    Args:
        segment: index into the batch of segments.
        suffix: tokens after the prefix.
        branches: continuations to be scored, each on its own after the suffix.
        max_new_tokens: how many tokens to generate after the suffix; 0 for scored questions.
        decoding: how they are chosen.
    """

    segment: int
    suffix: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...] = ()
    max_new_tokens: int = 0
    decoding: Decoding = GREEDY


@dataclass(frozen=True, slots=True)
class Scores:
    """What the model says of one Row.

    Args:
        next_token: float32 log-probabilities (V,) of the token after the suffix.
        branches: for each branch, log-probabilities of its tokens one by one.
        generated: tokens generated, without the one that ended them.
        ended: whether an end-of-turn token ended them, rather than the limit.
    """

    next_token: torch.Tensor
    branches: tuple[tuple[float, ...], ...]
    generated: tuple[int, ...]
    ended: bool


class Prefix(Protocol):
    """The prefilled prefixes of a batch of segments: ask them as often as needed."""

    lengths: list[int]
    """Tokens of each prefix."""

    def ask(self, rows: Sequence[Row], *, end_ids: frozenset[int]) -> list[Scores]:
        """Score the suffixes and branches of all rows, then generate for those that want it.

        Args:
            rows: questions, of any of the segments, in any order.
            end_ids: tokens that end a generated text.

        Returns:
            One Scores a row.
        """
        ...


def is_plain(model: Any) -> bool:
    """Whether packing is exact for a model: plain cache layers, and an attention that takes 4D masks."""
    layers = DynamicCache(config=model.config.get_text_config()).layers
    return all(type(layer) is DynamicLayer for layer in layers) and attention_of(model) in ("sdpa", "eager", NAME)


def attention_of(model: Any) -> str:
    """The attention implementation of the language side."""
    return str(model.config.get_text_config()._attn_implementation)


def positions_of(tensors: Tensors) -> torch.Tensor:
    """Positions (R, P + 1) of a prefix and of the first token after it; R is 1 for a plain count."""
    ids = tensors["input/prefix_ids"]
    positions = tensors.get("input/positions")
    return torch.arange(len(ids) + 1, device=ids.device)[None] if positions is None else positions


def as_position_ids(positions: torch.Tensor) -> torch.Tensor:
    """(R, B, L) as the models take it: (B, L) for a plain count."""
    return positions[0] if positions.shape[0] == 1 else positions
