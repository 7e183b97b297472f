"""One prefill of a segment's video, then all its questions packed into one sequence.

    cache of one segment:   [ prefix | pad | suffix 0, its branches | suffix 1, its branches | ... | generated tokens ]

Every question attends only to the prefix and to itself (a tree, by an explicit attention mask), with the positions that
it would have alone. So the keys and values of the video exist once for all questions, and segments of any length form
a batch. This is exact only if `prefix.is_plain` holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from nightreel.models.inprocess.attention import additive_mask
from nightreel.models.inprocess.beams import search_beams
from nightreel.models.inprocess.buffers import BufferCache
from nightreel.models.inprocess.generation import generate, pace_of
from nightreel.models.inprocess.graphs import Graphs
from nightreel.models.inprocess.packing import NOBODY, PREFIX, Packing
from nightreel.models.inprocess.prefix import Row, Scores, logits_at, positions_of, prefill, prefills
from nightreel.models.inprocess.steps import PackedDecoder
from nightreel.models.inprocess.tensors import Tensors
from nightreel.models.memory.shapes import aligned


class PackedPrefix:
    """The prefilled prefixes of a batch of segments. `ask` may be called repeatedly.

    Args:
        model: from AutoModelForImageTextToText, one for which `is_plain` holds.
        segments: tensors of each segment, from `vision`.
        graphs: of the model.
    """

    @torch.inference_mode()
    def __init__(self, model: Any, segments: Sequence[Tensors], graphs: Graphs) -> None:
        self._model = model
        self._graphs = graphs
        self._segments = segments
        self._device = model.device
        self.lengths = [len(tensors["input/prefix_ids"]) for tensors in segments]
        self._longest = max(self.lengths)
        position_rows = len(positions_of(segments[0]))
        self._next_position = torch.zeros(position_rows, len(segments), dtype=torch.long, device=self._device)
        self._cache = BufferCache(model, len(segments))
        for indices in prefills(segments):
            self._prefill(indices, [segments[i] for i in indices])
        self._owners = torch.full((len(segments), self._longest), NOBODY, device=self._device)
        for index, length in enumerate(self.lengths):
            self._owners[index, :length] = PREFIX

    def _prefill(self, indices: list[int], segments: Sequence[Tensors]) -> None:
        self._cache.begin_prefill(torch.tensor(indices, device=self._device), self._longest)
        prefill(self._model, segments, self._cache)
        self._next_position[:, indices] = torch.stack([positions_of(tensors)[:, -1] for tensors in segments], dim=1)

    @torch.inference_mode()
    def ask(self, rows: Sequence[Row], *, end_ids: frozenset[int]) -> list[Scores]:
        """Score the suffixes and branches of all rows in one forward pass, then generate for the rows that need it."""
        packing = Packing(rows, len(self.lengths))
        capacity = aligned(self._longest + packing.width + packing.generating * packing.steps)
        self._cache.begin_questions(self._longest, capacity)
        device = self._device
        positions = self._next_position[..., None] + packing.depths.to(device)
        mask = torch.cat(
            [(self._owners == PREFIX)[:, None].expand(-1, packing.width, -1), packing.mask.to(device)], dim=2
        )
        mask = additive_mask(self._model, mask)
        logits = logits_at(self._model, packing.read.to(device), packing.ids.to(device), positions, mask, self._cache)
        log_probabilities = torch.log_softmax(logits.float(), dim=-1)
        next_tokens = [log_probabilities[row.segment, packing.heads[i]] for i, row in enumerate(rows)]
        branches = [packing.branch_scores(i, log_probabilities) for i in range(len(rows))]
        generated = self._generate(rows, packing, logits, capacity, end_ids) if packing.generating else {}
        for i, row in enumerate(rows):
            if row.decoding.beams > 1:
                cache = self._cache.copied(row.segment, self.lengths[row.segment])
                tensors = self._segments[row.segment]
                generated[i] = search_beams(self._model, row, tensors=tensors, cache=cache, end_ids=end_ids)
        return [Scores(next_tokens[i], branches[i], *generated.get(i, ((), False))) for i in range(len(rows))]

    def _generate(
        self, rows: Sequence[Row], packing: Packing, logits: torch.Tensor, capacity: int, end_ids: frozenset[int]
    ) -> dict[int, tuple[tuple[int, ...], bool]]:
        """Write the texts of the packing's columns. `logits`: (B, N, V) after the questions."""
        heads, depths = packing.column_heads.to(self._device)
        pace = pace_of(self._device)
        decoder = PackedDecoder(
            self._model,
            self._cache,
            packing.columns,
            logits=torch.take_along_dim(logits, heads[..., None], dim=1),
            owners=torch.cat([self._owners, packing.trunks.to(self._device)], dim=1),
            positions=self._next_position[..., None] + depths,
            capacity=capacity,
            pace=pace,
            graphs=self._graphs,
        )
        prefixes = [tensors["input/prefix_ids"] for tensors in self._segments]
        return generate(rows, decoder, prefixes, end_ids=end_ids, tokens_per_sync=pace.tokens_per_sync)
