"""The interface of the two ways to ask many questions after one prefill of a segment's video.

`packed.PackedPrefix` keeps the keys and values of the video once and packs all questions into one sequence.
`copies.CopiedPrefix` copies them for each question, for models whose cache is not a plain list of keys and values.
`local` picks one by `is_plain`. Both handle tokens, not prompts: they take Rows and return Scores.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from nightreel.domain import GREEDY, GenerationOptions
from nightreel.models.inprocess.attention import NAME
from nightreel.models.inprocess.grammars import Grammar
from nightreel.models.inprocess.tensors import Tensors, encoder_outputs, language_inputs
from nightreel.models.memory.shapes import PREFILL_TOKENS


@dataclass(frozen=True, slots=True)
class Row:
    """One question of one segment.

    Args:
        segment: index into the batch of segments.
        suffix: tokens after the prefix.
        branches: continuations to score, each separately after the suffix.
        max_new_tokens: maximum number of tokens to generate after the suffix; 0 for scored questions.
        decoding: how these tokens are chosen.
        grammar: the form that they are held to; None: none.
    """

    segment: int
    suffix: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...] = ()
    max_new_tokens: int = 0
    decoding: GenerationOptions = GREEDY
    grammar: Grammar | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """The model's output for one Row.

    Args:
        next_token: float32 log-probabilities (V,) of the token after the suffix.
        branches: for each branch, the log-probability of each of its tokens.
        generated: the generated tokens, without the end token.
        ended: whether an end-of-turn token ended the text, not the limit.
    """

    next_token: torch.Tensor
    branches: tuple[tuple[float, ...], ...]
    generated: tuple[int, ...]
    ended: bool


class Prefix(Protocol):
    """The prefilled prefixes of a batch of segments. `ask` may be called repeatedly."""

    lengths: list[int]
    """Number of tokens of each prefix."""

    def ask(self, rows: Sequence[Row], *, end_ids: frozenset[int]) -> list[Scores]:
        """Score the suffixes and branches of all rows, then generate for the rows that need it.

        Args:
            rows: questions about any of the segments, in any order.
            end_ids: tokens that end a generated text.

        Returns:
            One Scores per row.
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
    """Positions (R, P + 1) of a prefix and of the first token after it; R is 1 if positions are a plain count."""
    ids = tensors["input/prefix_ids"]
    positions = tensors.get("input/positions")
    return torch.arange(len(ids) + 1, device=ids.device)[None] if positions is None else positions


def as_position_ids(positions: torch.Tensor) -> torch.Tensor:
    """Convert (R, B, L) to the form that models take: (B, L) for a plain count."""
    return positions[0] if positions.shape[0] == 1 else positions


def prefills(segments: Sequence[Tensors]) -> Iterator[list[int]]:
    """The segments that share a forward pass of their prefixes: equal shapes, at most PREFILL_TOKENS or one segment."""
    groups: dict[object, list[int]] = defaultdict(list)
    for index, tensors in enumerate(segments):
        groups[tuple(sorted((name, tuple(tensor.shape)) for name, tensor in tensors.items()))].append(index)
    for group in groups.values():
        most = max(1, PREFILL_TOKENS // len(segments[group[0]]["input/prefix_ids"]))
        for start in range(0, len(group), most):
            yield group[start : start + most]


def prefill(model: Any, segments: Sequence[Tensors], cache: Cache) -> None:
    """Feed the prefixes of segments of equal shapes."""
    positions = torch.stack([positions_of(tensors) for tensors in segments], dim=1)
    model.base_model(
        input_ids=torch.stack([tensors["input/prefix_ids"] for tensors in segments]),
        position_ids=as_position_ids(positions[..., :-1]),
        mm_encoder_outputs=encoder_outputs(segments),
        **language_inputs(model, segments),
        past_key_values=cache,
        use_cache=True,
    )


@cache
def _selects_logits(model_class: type[Any]) -> bool:
    """Whether its forward() computes the logits of selected tokens only."""
    return "logits_to_keep" in inspect.signature(model_class.forward).parameters


def logits_at(
    model: Any,
    read: torch.Tensor | None,
    ids: torch.Tensor,
    positions: torch.Tensor,
    mask: torch.Tensor | None,
    cache: Cache,
) -> torch.Tensor:
    """Logits (B, N, V) of the tokens that `read` (B, N) selects of tokens (B, Q); None: of all.

    Args:
        positions: (R, B, Q).
        mask: from `attention.additive_mask`; None for causal attention.
    """
    selects = read is not None and _selects_logits(type(model))  # type: ignore[arg-type]
    logits: torch.Tensor = model(
        input_ids=ids,
        position_ids=as_position_ids(positions),
        attention_mask=mask,
        past_key_values=cache,
        use_cache=True,
        **({"logits_to_keep": read} if selects else {}),
    ).logits
    return logits if read is None or selects else torch.take_along_dim(logits, read[..., None], dim=1)
