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
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from nightreel.models.inprocess.beams import search_beams
from nightreel.models.inprocess.generation import Step, Texts, generate
from nightreel.models.inprocess.packing import NOBODY, Packing
from nightreel.models.inprocess.prefix import Row, Scores, logits_at, positions_of, prefill, prefills
from nightreel.models.inprocess.tensors import Tensors, to_device

_PREFIX = -1


class PackedPrefix:
    """The prefilled prefixes of a batch of segments. `ask` may be called repeatedly.

    Args:
        model: from AutoModelForImageTextToText, one for which `is_plain` holds.
        segments: tensors of each segment, from `vision`.
    """

    @torch.inference_mode()
    def __init__(self, model: Any, segments: Sequence[Tensors]) -> None:
        self._model = model
        self._segments = segments
        self._device = model.device
        self.lengths = [len(tensors["input/prefix_ids"]) for tensors in segments]
        self._longest = max(self.lengths)
        position_rows = len(positions_of(segments[0]))
        self._next_position = torch.zeros(position_rows, len(segments), dtype=torch.long, device=self._device)
        layers = DynamicCache(config=model.config.get_text_config()).layers
        self._layers = [_BufferLayer(len(segments)) for _ in layers]
        self._cache = Cache(layers=list(self._layers))
        for indices in prefills(segments):
            self._prefill(indices, [segments[i] for i in indices])
        self._owners = torch.full((len(segments), self._longest), NOBODY, device=self._device)
        for index, length in enumerate(self.lengths):
            self._owners[index, :length] = _PREFIX

    def _prefill(self, indices: list[int], segments: Sequence[Tensors]) -> None:
        for layer in self._layers:
            layer.begin_prefill(torch.tensor(indices, device=self._device), self._longest)
        prefill(self._model, segments, self._cache)
        for layer in self._layers:
            layer.end_prefill(self._longest)
        self._next_position[:, indices] = torch.stack([positions_of(tensors)[:, -1] for tensors in segments], dim=1)

    @torch.inference_mode()
    def ask(self, rows: Sequence[Row], *, end_ids: frozenset[int]) -> list[Scores]:
        """Score the suffixes and branches of all rows in one forward pass, then generate for the rows that need it."""
        packing = Packing(rows, len(self.lengths))
        steps = max((row.max_new_tokens for row in rows), default=0)
        capacity = self._longest + packing.width + steps * packing.generating
        for layer in self._layers:
            layer.rewind(self._longest, capacity)
        device = self._device
        owners = torch.cat([self._owners, packing.trunks.to(device)], dim=1)
        positions = self._next_position[..., None] + packing.depths.to(device)
        mask = torch.cat(
            [(self._owners == _PREFIX)[:, None].expand(-1, packing.width, -1), packing.mask.to(device)], dim=2
        )
        logits = logits_at(self._model, packing.read.to(device), packing.ids.to(device), positions, mask, self._cache)
        log_probabilities = torch.log_softmax(logits.float(), dim=-1)
        next_tokens = [log_probabilities[row.segment, packing.heads[i]] for i, row in enumerate(rows)]
        branches = [packing.branch_scores(i, log_probabilities) for i in range(len(rows))]
        firsts = {
            i: logits[row.segment, packing.heads[i]]
            for i, row in enumerate(rows)
            if row.max_new_tokens and row.decoding.beams == 1
        }
        generated = generate(
            rows,
            firsts,
            [tensors["input/prefix_ids"] for tensors in self._segments],
            end_ids=end_ids,
            step=self._stepping(rows, owners),
        )
        for i, row in enumerate(rows):
            if row.decoding.beams > 1:
                cache = self._copy(row.segment)
                tensors = self._segments[row.segment]
                generated[i] = search_beams(self._model, row, tensors=tensors, cache=cache, end_ids=end_ids)
        return [Scores(next_tokens[i], branches[i], *generated.get(i, ((), False))) for i in range(len(rows))]

    def _stepping(self, rows: Sequence[Row], owners: torch.Tensor) -> Step:
        """The step function of `generate`. `owners`: the slots' owners after the questions."""

        def step(active: Sequence[int], _: Sequence[int], texts: Texts) -> torch.Tensor:
            nonlocal owners
            logits, owners = self._step(rows, active, texts, owners)
            return logits

        return step

    def _step(
        self, rows: Sequence[Row], active: Sequence[int], texts: Texts, owners: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Feed the newest token of each active row; return the logits (n, V) after them, and the owner of each slot."""
        used = [0] * len(self.lengths)
        slots = []
        for i in active:
            slots.append((rows[i].segment, used[rows[i].segment]))
            used[rows[i].segment] += 1
        width = max(used)
        # tokens, depths, owners, and the places of the active rows, in one copy to the device
        size = len(self.lengths) * width
        fed = [[0] * size, [0] * size, [NOBODY] * size, [0] * size]
        for number, (i, (segment, column)) in enumerate(zip(active, slots, strict=True)):
            place = segment * width + column
            fed[0][place], fed[1][place], fed[2][place] = texts[i][-1], len(rows[i].suffix) + len(texts[i]) - 1, i
            fed[3][number] = place
        ids, depths, own, places = to_device(torch.tensor(fed), self._device).unflatten(1, (len(self.lengths), width))
        owners = torch.cat([owners, own], dim=1)
        mask = (owners[:, None] == _PREFIX) | ((owners[:, None] == own[..., None]) & (own[..., None] != NOBODY))
        read = torch.arange(width, device=self._device).expand(len(self.lengths), -1)
        positions = self._next_position[..., None] + depths
        logits = logits_at(self._model, read, ids, positions, mask, self._cache)
        return logits.flatten(0, 1)[places.flatten()[: len(active)]], owners

    def _copy(self, segment: int) -> DynamicCache:
        """A copy of one segment's prefix as an ordinary cache."""
        cache = DynamicCache(config=self._model.config.get_text_config())
        for index, layer in enumerate(self._layers):
            cache.update(*layer.prefix(segment, self.lengths[segment]), index)
        return cache


class _BufferLayer(DynamicLayer):
    """Keys and values of a batch in one buffer, written in place; DynamicLayer would copy everything at each step."""

    _keys: torch.Tensor
    _values: torch.Tensor

    def __init__(self, batch: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._batch = batch
        self._length = 0
        self._capacity = 0
        self._indices: torch.Tensor | None = None

    def begin_prefill(self, indices: torch.Tensor, capacity: int) -> None:
        """Make the next update the prefix of these segments of the batch."""
        self._indices, self._length, self._capacity = indices, 0, capacity

    def end_prefill(self, length: int) -> None:
        self._indices, self._length = None, length

    def rewind(self, length: int, capacity: int) -> None:
        """Forget all but the first `length` tokens, and make room for `capacity`."""
        self._length = length
        more = capacity - self._capacity
        if more > 0:
            self._keys = torch.nn.functional.pad(self._keys, (0, 0, 0, more))
            self._values = torch.nn.functional.pad(self._values, (0, 0, 0, more))
            self._capacity = capacity

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        # zeros, because a masked NaN would still make the sum over values NaN
        self._keys = key_states.new_zeros(self._batch, key_states.shape[1], self._capacity, key_states.shape[3])
        self._values = value_states.new_zeros(self._batch, value_states.shape[1], self._capacity, value_states.shape[3])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self._indices is not None:
            indices = self._indices.to(key_states.device)  # a model may be spread over several GPUs
            self._keys[indices, :, : key_states.shape[2]] = key_states
            self._values[indices, :, : value_states.shape[2]] = value_states
            return key_states, value_states
        end = self._length + key_states.shape[2]
        self._keys[:, :, self._length : end] = key_states
        self._values[:, :, self._length : end] = value_states
        self._length = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    def prefix(self, index: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (1, heads, length, size) of the first `length` tokens of a segment."""
        return self._keys[index : index + 1, :, :length].clone(), self._values[index : index + 1, :, :length].clone()

    def get_seq_length(self) -> int:
        return self._length
