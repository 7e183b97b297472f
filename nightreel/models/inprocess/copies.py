"""One prefill of a segment's video, then a copy of its cache for every question.

For models whose cache layers are not plain keys and values: linear attention keeps a state, sliding windows drop old
tokens. Padded or packed sequences would be wrong for them. Instead, questions of equal length form a batch over copies
of their segments' caches, and all texts are then generated in one batch.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import (
    Cache,
    DynamicCache,
    DynamicLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionCacheLayerMixin,
    LinearAttentionLayer,
)

from nightreel.models.inprocess.attention import additive_mask
from nightreel.models.inprocess.beams import search_beams
from nightreel.models.inprocess.generation import generate, pace_of
from nightreel.models.inprocess.prefix import Row, Scores, logits_at, positions_of, prefill, prefills
from nightreel.models.inprocess.tensors import Tensors

_JOINABLE = (DynamicLayer, LinearAttentionLayer, LinearAttentionAndFullAttentionLayer)
"""Layers whose sequences may have padding: keys can be masked, and a state has no length."""


@dataclass(frozen=True, slots=True)
class _Sequence:
    """Tokens for one forward pass: the suffix of a row, then optionally one of its branches without the last token."""

    row: int
    branch: int | None
    ids: tuple[int, ...]


@dataclass(slots=True)
class _Batch:
    """Sequences in one cache.

    Args:
        owners: of each sequence: the index of its segment, or of its row once questions are fed.
        real: (n, K), false where a sequence has padding; None if none has any.
        width: K, the number of tokens in the cache.
    """

    cache: Cache
    owners: list[int]
    width: int
    real: torch.Tensor | None = None

    def select(self, places: Sequence[int], owners: Sequence[int], device: torch.device) -> _Batch:
        """Copies of these sequences as a new batch."""
        cache = Cache(layers=[_copy(layer) for layer in self.cache.layers])
        chosen = torch.tensor(places, device=device)
        cache.reorder_cache(chosen)  # type: ignore[arg-type]
        return _Batch(cache, list(owners), self.width, None if self.real is None else self.real[chosen])

    def extended(self, tokens: int) -> torch.Tensor | None:
        """The mask (n, tokens, K + tokens) of so many new tokens, which become part of the batch; None: causal."""
        self.width += tokens
        if self.real is None:
            return None
        before = self.real
        self.real = torch.nn.functional.pad(before, (0, tokens), value=True)
        own = torch.ones(tokens, tokens, dtype=torch.bool, device=before.device).tril()
        return torch.cat([before[:, None].expand(-1, tokens, -1), own.expand(len(before), -1, -1)], dim=2)


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
        self._device = model.device
        self.lengths = [len(tensors["input/prefix_ids"]) for tensors in segments]
        self._next_position = torch.stack([positions_of(tensors)[:, -1] for tensors in segments], dim=1)
        self._prefixes = _joined([self._prefill(indices) for indices in prefills(segments)], self._device)

    def _prefill(self, indices: list[int]) -> _Batch:
        cache = DynamicCache(config=self._model.config.get_text_config())
        prefill(self._model, [self._segments[index] for index in indices], cache)
        return _Batch(cache, indices, self.lengths[indices[0]])

    @torch.inference_mode()
    def ask(self, rows: Sequence[Row], *, end_ids: frozenset[int]) -> list[Scores]:
        """See `prefix.Prefix.ask`."""
        firsts: dict[int, torch.Tensor] = {}
        heads: dict[int, torch.Tensor] = {}
        branches: dict[tuple[int, int], tuple[float, ...]] = {}
        texts: list[_Batch] = []
        for prefixes in self._prefixes:
            own = [index for index, row in enumerate(rows) if row.segment in prefixes.owners]
            for sequences in of_equal_length(rows, own):
                batch, logits = self._feed(prefixes, rows, sequences)
                log_probabilities = torch.log_softmax(logits.float(), dim=-1)
                wanted = []
                for place, sequence in enumerate(sequences):
                    row = rows[sequence.row]
                    if sequence.branch is not None:
                        tokens = row.branches[sequence.branch]
                        scores = log_probabilities[place, range(len(tokens)), list(tokens)]
                        branches[sequence.row, sequence.branch] = tuple(scores.tolist())
                        continue
                    heads[sequence.row] = log_probabilities[place, -1].clone()
                    if row.max_new_tokens and row.decoding.beams == 1:
                        wanted.append(place)
                        firsts[sequence.row] = logits[place, -1].clone()
                if wanted:
                    texts.append(batch.select(wanted, [batch.owners[place] for place in wanted], self._device))
        generated = self._generate(rows, firsts, texts, end_ids) if texts else {}
        generated |= {i: self._search(row, end_ids) for i, row in enumerate(rows) if row.decoding.beams > 1}
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

    def _feed(
        self, prefixes: _Batch, rows: Sequence[Row], sequences: Sequence[_Sequence]
    ) -> tuple[_Batch, torch.Tensor]:
        """Feed sequences of equal length; return the batch of their rows, and the logits (n, N, V) that they need.

        N is the length of the longest branch. A row needs the logits after its last token only.
        """
        segments = [rows[sequence.row].segment for sequence in sequences]
        places = [prefixes.owners.index(segment) for segment in segments]
        batch = prefixes.select(places, [sequence.row for sequence in sequences], self._device)
        tokens = torch.tensor([sequence.ids for sequence in sequences], device=self._device)
        length = tokens.shape[1]
        starts = [
            length - 1 if sequence.branch is None else len(rows[sequence.row].suffix) - 1 for sequence in sequences
        ]
        reads = max(length - start for start in starts)
        read = torch.tensor([[min(start + offset, length - 1) for offset in range(reads)] for start in starts])
        positions = self._next_position[:, segments, None] + torch.arange(length, device=self._device)
        mask = _additive(self._model, batch.extended(length))
        logits = logits_at(self._model, read.to(self._device), tokens, positions, mask, batch.cache)
        return batch, logits

    def _generate(
        self, rows: Sequence[Row], firsts: Mapping[int, torch.Tensor], texts: list[_Batch], end_ids: frozenset[int]
    ) -> dict[int, tuple[tuple[int, ...], bool]]:
        """Write the texts after the questions in these batches, of which `firsts` are the logits."""
        decoder = _CopiesDecoder(self._model, rows, self._next_position, _joined(texts, self._device), firsts)
        prefixes = [tensors["input/prefix_ids"] for tensors in self._segments]
        tokens = pace_of(self._device).tokens_per_sync
        return generate(rows, decoder, prefixes, end_ids=end_ids, tokens_per_sync=tokens)

    def _search(self, row: Row, end_ids: frozenset[int]) -> tuple[tuple[int, ...], bool]:
        prefixes = next(prefixes for prefixes in self._prefixes if row.segment in prefixes.owners)
        batch = prefixes.select([prefixes.owners.index(row.segment)], [row.segment], self._device)
        cache = _without_padding(batch.cache, self.lengths[row.segment])
        return search_beams(self._model, row, tensors=self._segments[row.segment], cache=cache, end_ids=end_ids)


class _CopiesDecoder:
    """See `generation.Decoder`. A step is one forward pass of each batch, and texts that have ended leave it.

    Args:
        positions: (R, B) of the first token after each segment's prefix.
        batches: of the questions of the rows whose texts are written.
        firsts: logits (V,) after the question of each of these rows.
    """

    def __init__(
        self,
        model: Any,
        rows: Sequence[Row],
        positions: torch.Tensor,
        batches: list[_Batch],
        firsts: Mapping[int, torch.Tensor],
    ) -> None:
        self._model, self._rows, self._positions, self._batches = model, rows, positions, batches
        self._steps = 0
        self.lines: list[int | None] = [row for batch in batches for row in batch.owners]
        self.logits = torch.stack([firsts[row] for batch in batches for row in batch.owners])

    def feed(self, tokens: torch.Tensor, active: Collection[int]) -> None:
        """See `generation.Decoder`."""
        batches, logits = [], []
        for batch, own in zip(self._batches, tokens.split([len(batch.owners) for batch in self._batches]), strict=True):
            left = [place for place, row in enumerate(batch.owners) if row in active]
            if not left:
                continue
            if len(left) < len(batch.owners):
                batch, own = batch.select(left, [batch.owners[place] for place in left], tokens.device), own[left]
            batches.append(batch)
            logits.append(self._step(batch, own))
        self._batches, self.logits = batches, torch.cat(logits)
        self.lines = [row for batch in batches for row in batch.owners]
        self._steps += 1

    def _step(self, batch: _Batch, tokens: torch.Tensor) -> torch.Tensor:
        """Feed the newest token (n,) of each sequence; return the logits (n, V) after them."""
        depths = torch.tensor([len(self._rows[row].suffix) + self._steps for row in batch.owners])
        segments = [self._rows[row].segment for row in batch.owners]
        positions = (self._positions[:, segments] + depths.to(tokens.device))[..., None]
        mask = _additive(self._model, batch.extended(1))
        return logits_at(self._model, None, tokens[:, None], positions, mask, batch.cache)[:, 0]


def _additive(model: Any, mask: torch.Tensor | None) -> torch.Tensor | None:
    return None if mask is None else additive_mask(model, mask)


def of_equal_length(rows: Sequence[Row], indices: Iterable[int]) -> list[list[_Sequence]]:
    """The sequences of these rows, grouped by length. The first token of a branch needs no sequence of its own."""
    groups: dict[int, list[_Sequence]] = defaultdict(list)
    for index in indices:
        row = rows[index]
        groups[len(row.suffix)].append(_Sequence(index, None, row.suffix))
        for number, branch in enumerate(row.branches):
            if len(branch) > 1:
                ids = row.suffix + branch[:-1]
                groups[len(ids)].append(_Sequence(index, number, ids))
    return list(groups.values())


def _joined(batches: list[_Batch], device: torch.device) -> list[_Batch]:
    """One batch of all sequences, with padding after the shorter ones; as they are if a layer cannot have padding."""
    if len(batches) < 2 or any(type(layer) not in _JOINABLE for layer in batches[0].cache.layers):
        return batches
    width = max(batch.width for batch in batches)
    layers = [_join(own, width) for own in zip(*(batch.cache.layers for batch in batches), strict=True)]
    real = None
    if any(batch.real is not None or batch.width < width for batch in batches):
        real = torch.cat([_real(batch, width, device) for batch in batches])
    return [_Batch(Cache(layers=layers), [owner for batch in batches for owner in batch.owners], width, real)]


def _join(layers: Sequence[Any], width: int) -> Any:
    joined = _copy(layers[0])
    if isinstance(joined, DynamicLayer):
        for name in ("keys", "values"):
            padded = (_padded(getattr(layer, name), width) for layer in layers)
            setattr(joined, name, torch.cat(list(padded)))
    if isinstance(joined, LinearAttentionCacheLayerMixin):
        for name in ("conv_states", "recurrent_states"):
            states = [getattr(layer, name) for layer in layers]
            setattr(
                joined,
                name,
                {
                    key: None if one is None else torch.cat([own[key] for own in states])
                    for key, one in states[0].items()
                },
            )
    return joined


def _padded(tensor: torch.Tensor, width: int) -> torch.Tensor:
    """Keys or values (n, heads, K, D) with zeros up to `width`: a masked NaN would make a sum NaN."""
    return torch.nn.functional.pad(tensor, (0, 0, 0, width - tensor.shape[2]))


def _real(batch: _Batch, width: int, device: torch.device) -> torch.Tensor:
    own = batch.real
    if own is None:
        own = torch.ones(len(batch.owners), batch.width, dtype=torch.bool, device=device)
    return torch.nn.functional.pad(own, (0, width - batch.width), value=False)


def _copy(layer: Any) -> Any:
    """A layer with the same tensors, in dictionaries of its own."""
    copied = copy.copy(layer)
    for name, value in vars(layer).items():
        if isinstance(value, dict):
            setattr(copied, name, dict(value))
    return copied


def _without_padding(cache: Cache, length: int) -> Cache:
    """The cache of one sequence of this many tokens, which may have padding after them."""
    for layer in cache.layers:
        if type(layer) in _JOINABLE and isinstance(layer, DynamicLayer):
            for name in ("keys", "values"):
                setattr(layer, name, getattr(layer, name)[:, :, :length])
    return cache
