"""Generate texts: one loop for all rows of a batch, and the choice of each next token.

`packed` and `copies` call it; they differ only in how they compute the logits of the next step. Penalties, temperature
and cuts are those of transformers, so that texts equal those of generate(). Each row has its own random generator, so
that its draws do not depend on the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
Step = Callable[[Sequence[int], Sequence[int], Texts], torch.Tensor]
"""Logits (n, V) after the newest token of each active row.

Called with the indices of the active rows, their places among the active rows of the previous step, and all texts so
far.
"""


def generate(
    rows: Sequence[Row],
    first_logits: Mapping[int, torch.Tensor],
    prefixes: Sequence[torch.Tensor],
    *,
    end_ids: frozenset[int],
    step: Step,
) -> dict[int, tuple[tuple[int, ...], bool]]:
    """Generate a text for some rows together; a finished row leaves the batch.

    Args:
        first_logits: (V,) of the first token, by index of the row.
        prefixes: tokens (P,) of each segment's prefix.
        end_ids: tokens that end a text.

    Returns:
        By index of the row: its tokens without the end token, and whether an end token ended the text. No tokens if
        the scores of one were not finite. A text that cannot get the form of its grammar stops there.
    """
    if not first_logits:
        return {}
    active = list(first_logits)
    texts: dict[int, list[int]] = {row: [] for row in active}
    ended = dict.fromkeys(active, False)
    chooser = _TokenChooser(rows, prefixes)
    logits = torch.stack(list(first_logits.values()))
    while True:
        kept = []
        for place, (row, token) in enumerate(zip(active, chooser.choose(active, logits, texts), strict=True)):
            if token == _NOT_FINITE:
                texts[row].clear()
                continue
            if token in end_ids:
                ended[row] = True
                continue
            if not chooser.accepts(row, token):
                continue
            texts[row].append(token)
            if len(texts[row]) < rows[row].max_new_tokens:
                kept.append(place)
        active = [active[place] for place in kept]
        if not active:
            return {row: (tuple(text), ended[row]) for row, text in texts.items()}
        logits = step(active, kept, texts)


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

    def choose(self, indices: Sequence[int], logits: torch.Tensor, texts: Texts) -> list[int]:
        """The next token of each of these rows; `_NOT_FINITE` for a row whose logits contain NaN.

        Args:
            indices: of the active rows.
            logits: (n, V), one row of logits per index.
            texts: the tokens that each row has generated so far.
        """
        are_finite = ~logits.isnan().any(-1)
        logits = self._masks.applied(indices, logits)
        chosen = torch.where(are_finite, logits.argmax(-1), _NOT_FINITE).tolist()
        for place, index in enumerate(indices):
            if index in self._processors and chosen[place] != _NOT_FINITE:
                chosen[place] = self._draw(index, logits[place], texts[index])
        return chosen

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
