"""The next token of every text that is being generated: the likeliest one, or as a prompt's Decoding wants it.

`packed` and `copies` call it at each step. Penalties, temperature and cuts are those of transformers, so that a text is
what generate() would give; draws come from a generator of the row's own, so that they do not depend on the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from nightreel.domain import GREEDY, Decoding
from nightreel.models.inprocess.prefix import Row


class TokenChooser:
    """Chooses for the generating rows of one call of `Prefix.ask`.

    Args:
        rows: all rows of the call.
        prefixes: tokens (P,) of each segment's prefix: penalties count what stands in the prompt.
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

    def choose(self, indices: Sequence[int], logits: torch.Tensor, texts: Mapping[int, Sequence[int]]) -> list[int]:
        """The next token of each of these rows.

        Args:
            indices: of the rows still generating.
            logits: (n, V), a line for each of them.
            texts: what each row has generated so far.
        """
        chosen = logits.argmax(-1).tolist()
        for place, index in enumerate(indices):
            if index in self._processors:
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


def _processors(decoding: Decoding) -> LogitsProcessorList:
    """In the order of generate()."""
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
