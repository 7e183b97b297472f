"""One prefill of a segment's video, then a copy of its cache for every question.

For models whose cache layers are not plain keys and values (linear attention keeps a state, sliding windows drop old
tokens), or whose attention takes no 4D mask. Padded or packed sequences would be wrong for them. Instead, questions of
equal length form a group, and each group is one batch over copies of the cache.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from nightreel.models.inprocess.beams import search_beams
from nightreel.models.inprocess.generation import Step, Texts, generate
from nightreel.models.inprocess.prefix import Row, Scores, as_position_ids, positions_of
from nightreel.models.inprocess.vision import Tensors, encoder_outputs, language_inputs


@dataclass(frozen=True, slots=True)
class _Sequence:
    """Tokens for one forward pass: the suffix of a row, then optionally one of its branches without the last token."""

    row: int
    branch: int | None
    ids: tuple[int, ...]


class CopiedPrefix:
    """See `prefix.Prefix`.

    Args:
        model: from AutoModelForImageTextToText.
        segments: tensors of each segment, as `vision` made them.
    """

    @torch.inference_mode()
    def __init__(self, model: Any, segments: Sequence[Tensors]) -> None:
        self._model = model
        self._segments = segments
        self.lengths = [len(tensors["input/prefix_ids"]) for tensors in segments]
        self._next_positions = [positions_of(tensors)[:, -1] for tensors in segments]
        self._caches = [self._prefill(tensors) for tensors in segments]

    def _prefill(self, tensors: Tensors) -> DynamicCache:
        cache = DynamicCache(config=self._model.config.get_text_config())
        self._model.base_model(
            input_ids=tensors["input/prefix_ids"][None],
            position_ids=as_position_ids(positions_of(tensors)[:, None, :-1]),
            mm_encoder_outputs=encoder_outputs([tensors]),
            **language_inputs(self._model, [tensors]),
            past_key_values=cache,
            use_cache=True,
        )
        return cache

    @torch.inference_mode()
    def ask(self, rows: Sequence[Row], *, end_ids: frozenset[int]) -> list[Scores]:
        """See `prefix.Prefix.ask`."""
        groups: dict[tuple[int, int], list[_Sequence]] = defaultdict(list)
        for index, row in enumerate(rows):
            for branch, ids in enumerate(row.branches):
                if len(ids) > 1:
                    sequence = _Sequence(index, branch, row.suffix + ids[:-1])
                    groups[row.segment, len(sequence.ids)].append(sequence)
            groups[row.segment, len(row.suffix)].append(_Sequence(index, None, row.suffix))
        heads: dict[int, torch.Tensor] = {}
        branches: dict[tuple[int, int], tuple[float, ...]] = {}
        generated = {index: self._search(row, end_ids) for index, row in enumerate(rows) if row.decoding.beams > 1}
        for (segment, length), sequences in groups.items():
            cache = self._copy(segment, len(sequences))
            logits = self._forward(cache, segment, [sequence.ids for sequence in sequences], 0)
            log_probabilities = torch.log_softmax(logits.float(), dim=-1)
            for sequence, own in zip(sequences, log_probabilities, strict=True):
                row = rows[sequence.row]
                if sequence.branch is None:
                    heads[sequence.row] = own[-1]
                else:
                    reads = list(range(len(row.suffix) - 1, length))
                    scores = own[reads, list(row.branches[sequence.branch])]
                    branches[sequence.row, sequence.branch] = tuple(scores.tolist())
            wanted = [
                place
                for place, sequence in enumerate(sequences)
                if sequence.branch is None and rows[sequence.row].max_new_tokens and sequence.row not in generated
            ]
            if wanted:
                self._select(cache, wanted)
                generated |= generate(
                    rows,
                    {sequences[place].row: logits[place, -1] for place in wanted},
                    [tensors["input/prefix_ids"] for tensors in self._segments],
                    end_ids=end_ids,
                    step=self._stepping(cache, segment, depth=length, batch=len(wanted)),
                )
        return [
            Scores(
                heads[index],
                tuple(
                    branches.get((index, number)) or (heads[index][branch[0]].item(),)
                    for number, branch in enumerate(row.branches)
                ),
                *generated.get(index, ((), False)),
            )
            for index, row in enumerate(rows)
        ]

    def _search(self, row: Row, end_ids: frozenset[int]) -> tuple[tuple[int, ...], bool]:
        cache = self._copy(row.segment, 1)
        return search_beams(self._model, row, tensors=self._segments[row.segment], cache=cache, end_ids=end_ids)

    def _copy(self, segment: int, count: int) -> DynamicCache:
        cache = copy.deepcopy(self._caches[segment])
        if count > 1:
            self._select(cache, [0] * count)
        return cache

    def _select(self, cache: Any, sequences: Sequence[int]) -> None:
        """Select sequences of the cache as its new batch. reorder_cache also moves states of linear attention."""
        cache.reorder_cache(torch.tensor(sequences, device=self._model.device))

    def _forward(self, cache: DynamicCache, segment: int, ids: Sequence[Sequence[int]], depth: int) -> torch.Tensor:
        """Logits (N, L, V) of N sequences of equal length that start `depth` tokens after the prefix."""
        device = self._model.device
        tokens = torch.tensor(ids, device=device)
        depths = depth + torch.arange(tokens.shape[1], device=device).expand(len(ids), -1)
        logits: torch.Tensor = self._model(
            input_ids=tokens,
            position_ids=as_position_ids(self._next_positions[segment][:, None, None] + depths),
            past_key_values=cache,
            use_cache=True,
        ).logits
        return logits

    def _stepping(self, cache: DynamicCache, segment: int, *, depth: int, batch: int) -> Step:
        """The step function of `generate` for rows of one segment; each row is a sequence of the cache.

        Args:
            depth: number of tokens of each row after the prefix. batch: number of sequences in the cache.
        """

        def step(active: Sequence[int], kept: Sequence[int], texts: Texts) -> torch.Tensor:
            nonlocal depth, batch
            if len(kept) < batch:
                self._select(cache, kept)
                batch = len(kept)
            logits = self._forward(cache, segment, [[texts[row][-1]] for row in active], depth)[:, -1]
            depth += 1
            return logits

        return step
