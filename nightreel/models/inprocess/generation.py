"""Generate texts: one loop for all rows of a batch, and the choice of each next token.

`packed` and `copies` call it; they differ only in how they compute the logits of the next step. Penalties, temperature
and cuts are those of transformers, so that texts equal those of generate(). Each row has its own random generator, so
that its draws do not depend on the batch.

The likeliest tokens stay on the device. They are read, and the ends of texts looked for, once in `tokens_per_sync`
tokens: until then a device computes without waiting for the host.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from nightreel.domain import GREEDY, GenerationOptions
from nightreel.models.inprocess.grammars import Masks
from nightreel.models.inprocess.prefix import Row

_NOT_FINITE = -1
"""In place of a token: the likeliest of NaNs would be any token."""

Texts = Mapping[int, Sequence[int]]
"""Tokens generated so far, by index of the row."""


class Decoder(Protocol):
    """Computes the logits of the texts that are written together."""

    lines: list[int | None]
    """The index of the row of each line of `logits`; None for a line without a row."""
    logits: torch.Tensor
    """(n, V) after the newest tokens."""

    def feed(self, tokens: torch.Tensor, active: Collection[int], /) -> None:
        """Feed the newest token (n,) of each line. The lines of rows that are not active may leave or stay."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """What depends on the kind of the device.

    Args:
        tokens_per_sync: how many tokens of each text are generated before they are read. Those after the end of a text
            are computed in vain.
        room: for how many steps a cache and its mask are used before they get places for more.
        halves: a batch gets fewer columns only when half of them are enough, not with each text that ends.
    """

    tokens_per_sync: int
    room: int
    halves: bool


_ON_A_CPU = Pace(1, 32, halves=False)
"""Reading is free, and each token, column and place costs time."""
_ON_A_GPU = Pace(8, 128, halves=True)
"""Reading makes the device and the host wait for each other, and each shape is a graph of its own. A step of few texts
takes about as long as one of many. With 8 tokens, both wait an eighth as often, for 3.5 steps in vain on average."""


def pace_of(device: torch.device) -> Pace:
    return _ON_A_CPU if device.type == "cpu" else _ON_A_GPU


def generate(
    rows: Sequence[Row],
    decoder: Decoder,
    prefixes: Sequence[torch.Tensor],
    *,
    end_ids: frozenset[int],
    tokens_per_sync: int,
) -> dict[int, tuple[tuple[int, ...], bool]]:
    """Generate the texts of a decoder's lines together.

    Args:
        prefixes: tokens (P,) of each segment's prefix.
        end_ids: tokens that end a text.
        tokens_per_sync: how many tokens of each text to generate before they are read, where the host is not needed
            for each of them.

    Returns:
        By index of the row: its tokens without the end token, and whether an end token ended the text. No tokens if
        the scores of one were not finite. A text that cannot get the form of its grammar stops there.
    """
    active = [row for row in decoder.lines if row is not None]
    texts: dict[int, list[int]] = {row: [] for row in active}
    ended = dict.fromkeys(active, False)
    chooser = _TokenChooser(rows, prefixes)

    def continues(row: int, tokens: Sequence[int]) -> bool:
        """Take the newest tokens of a row. False: its text is whole."""
        for token in tokens:
            if token == _NOT_FINITE:
                texts[row].clear()
                return False
            if token in end_ids:
                ended[row] = True
                return False
            if not chooser.accepts(row, token):
                return False
            texts[row].append(token)
            if len(texts[row]) == rows[row].max_new_tokens:
                return False
        return True

    while active:
        left = max(rows[row].max_new_tokens - len(texts[row]) for row in active)
        run = 1 if any(map(chooser.needs_host, active)) else min(tokens_per_sync, left)
        lines = _only(decoder.lines, active)
        chosen = [chooser.choose(lines, decoder.logits, texts)]
        while len(chosen) < run:
            decoder.feed(chosen[-1].clamp_min(0), active)
            chosen.append(chooser.choose(lines, decoder.logits, texts))
        newest = zip(lines, torch.stack(chosen, dim=1).tolist(), strict=True)
        active = [row for row, tokens in newest if row is not None and continues(row, tokens)]
        if active:
            decoder.feed(chosen[-1].clamp_min(0), active)
    return {row: (tuple(text), ended[row]) for row, text in texts.items()}


def _only(lines: Sequence[int | None], active: Sequence[int]) -> list[int | None]:
    kept = set(active)
    return [row if row in kept else None for row in lines]


class _TokenChooser:
    """Chooses the next token of each row: the likeliest one, or as the row's GenerationOptions says.

    Args:
        rows: all rows of the call.
        prefixes: tokens (P,) of each segment's prefix: penalties include the tokens of the prompt.
    """

    def __init__(self, rows: Sequence[Row], prefixes: Sequence[torch.Tensor]) -> None:
        self._rows = rows
        self._prefixes = prefixes
        self._processors: dict[int, LogitsProcessorList] = {}
        self._generators: dict[int, torch.Generator] = {}
        for index, row in enumerate(rows):
            if row.max_new_tokens and row.decoding != GREEDY:
                self._processors[index] = _processors(row.decoding)
                self._generators[index] = torch.Generator().manual_seed(row.decoding.seed)
        self._masks = Masks({index: row.grammar for index, row in enumerate(rows) if row.grammar})

    def accepts(self, index: int, token: int) -> bool:
        """Take note of a chosen token. False if the row's text cannot get its form any more."""
        return self._masks.accepts(index, token)

    def needs_host(self, index: int) -> bool:
        """Whether the choice of each token of a row takes the tokens before it, which the host keeps."""
        return index in self._processors or self._masks.holds(index)

    def choose(self, lines: Sequence[int | None], logits: torch.Tensor, texts: Texts) -> torch.Tensor:
        """The next token (n,) of each line; `_NOT_FINITE` for a line whose logits contain NaN.

        Args:
            lines: the index of the row of each line, or None.
            logits: (n, V).
            texts: the tokens that each row has generated so far.
        """
        are_finite = ~logits.isnan().any(-1)
        logits = self._masks.applied(lines, logits)
        chosen = torch.where(are_finite, logits.argmax(-1), _NOT_FINITE)
        drawn = [(place, row) for place, row in enumerate(lines) if row in self._processors]
        if not drawn:
            return chosen
        tokens = chosen.tolist()
        for place, row in drawn:
            if row is not None and tokens[place] != _NOT_FINITE:
                tokens[place] = self._draw(row, logits[place], texts[row])
        return torch.tensor(tokens, device=logits.device)

    def _draw(self, index: int, logits: torch.Tensor, text: Sequence[int]) -> int:
        row = self._rows[index]
        prefix = self._prefixes[row.segment]
        ids: Any = torch.cat([prefix, prefix.new_tensor([*row.suffix, *text])])[None]
        scores: Any = logits[None].float()
        scores = self._processors[index](ids, scores)
        if row.decoding.temperature == 0:
            return int(scores.argmax())
        return int(torch.multinomial(scores.softmax(-1).cpu(), 1, generator=self._generators[index]))


def _processors(decoding: GenerationOptions) -> LogitsProcessorList:
    """The processors in the order of generate()."""
    processors = LogitsProcessorList()
    if decoding.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty))
    if decoding.temperature > 0:
        processors.append(TemperatureLogitsWarper(decoding.temperature))
        if decoding.top_k:
            processors.append(TopKLogitsWarper(decoding.top_k))
        if decoding.top_p < 1:
            processors.append(TopPLogitsWarper(decoding.top_p))
    return processors
