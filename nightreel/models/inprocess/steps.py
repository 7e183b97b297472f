"""Decode steps of a packed batch: one column for each text of a segment, and equal shapes from step to step.

    (B, W) newest tokens, their positions and places in the cache  ->  one forward pass  ->  (B, W, V) logits

What changes between two steps changes in place, on the device: tokens, positions, places, and the bits of the mask for
the new tokens. So a step needs nothing from the host, and a graph of one step is a graph of the next. A text that has
ended stays in its column until the batch gets fewer columns.

`packed` starts the steps, `generation` chooses the tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import torch

from nightreel.models.inprocess.attention import additive_mask
from nightreel.models.inprocess.buffers import BufferCache
from nightreel.models.inprocess.generation import Pace
from nightreel.models.inprocess.graphs import Graphs
from nightreel.models.inprocess.packing import NOBODY, PREFIX
from nightreel.models.inprocess.prefix import logits_at
from nightreel.models.inprocess.tensors import to_device
from nightreel.models.memory.shapes import aligned

_WORTH_A_GRAPH = 8
"""Steps: a capture takes as long as four."""


class PackedDecoder:
    """See `generation.Decoder`.

    Args:
        columns: the rows of each segment whose texts are written.
        logits: (B, W, V) after the questions of these rows; a segment with fewer rows has any logits there.
        owners: (B, K) of the places of the cache up to now: a row, `PREFIX` or `NOBODY`.
        positions: (R, B, W) of the last token of each question.
        capacity: places of the cache.
        pace: of the device.
        graphs: of the model.
    """

    def __init__(
        self,
        model: Any,
        cache: BufferCache,
        columns: Sequence[Sequence[int]],
        *,
        logits: torch.Tensor,
        owners: torch.Tensor,
        positions: torch.Tensor,
        capacity: int,
        pace: Pace,
        graphs: Graphs,
    ) -> None:
        self._model, self._cache, self._device = model, cache, owners.device
        self._capacity, self._pace, self._graphs = capacity, pace, graphs
        self._columns = [list(own) for own in columns]
        self._owners, self._positions = owners, positions
        self._steps = self._steps_of_mask = self._room = 0
        self._width = logits.shape[1]
        self._set_lines()
        self.logits = logits.flatten(0, 1)

    def feed(self, tokens: torch.Tensor, active: Collection[int]) -> None:
        """See `generation.Decoder`."""
        tokens = self._narrowed(tokens.unflatten(0, (-1, self._width)), active)
        if self._steps_of_mask == self._room:
            self._make_room()
        self._ids.copy_(tokens)
        self._positions += 1
        self._places += self._width
        self._mask.scatter_(3, self._places.expand(len(tokens), 1, -1, -1), 0.0)
        self.logits = self._compute().flatten(0, 1)
        self._steps += 1
        self._steps_of_mask += 1

    def _narrowed(self, tokens: torch.Tensor, active: Collection[int]) -> torch.Tensor:
        """Tokens (B, W) of as many columns as the active rows need, which other tensors get as well."""
        columns = [[row for row in own if row in active] for own in self._columns]
        width = max(map(len, columns))
        if width == self._width or (self._pace.halves and 2 * width > self._width):
            return tokens
        self._forget_mask()
        places = [
            [old.index(row) for row in new] + [0] * (width - len(new))
            for old, new in zip(self._columns, columns, strict=True)
        ]
        kept = to_device(torch.tensor(places), self._device)
        self._columns, self._width = columns, width
        self._positions = torch.take_along_dim(self._positions, kept[None], dim=2)
        self._set_lines()
        return torch.take_along_dim(tokens, kept, dim=1)

    def _set_lines(self) -> None:
        padded = [own + [None] * (self._width - len(own)) for own in self._columns]
        self.lines: list[int | None] = [row for own in padded for row in own]
        own = torch.tensor([NOBODY if row is None else row for row in self.lines])
        self._own = to_device(own, self._device).unflatten(0, (-1, self._width))

    def _forget_mask(self) -> None:
        """Note the owners of the places that were written since the mask was made."""
        self._owners = torch.cat([self._owners, self._own.repeat(1, self._steps_of_mask)], dim=1)
        self._steps_of_mask = self._room = 0

    def _make_room(self) -> None:
        """Make the mask, and the tensors of a step, for the next steps: at first few, then as many as there were."""
        self._forget_mask()
        used, width = self._owners.shape[1], self._width
        end = min(aligned(used + max(self._pace.room, self._steps) * width), self._capacity)
        self._room = (end - used) // width
        visible = (self._owners == PREFIX)[:, None] | (self._owners[:, None] == self._own[..., None])
        self._mask = additive_mask(self._model, torch.nn.functional.pad(visible, (0, end - used)))
        self._ids = torch.zeros_like(self._own)
        # for each row of the mask, the place of its newest token: those of before the first step
        before = torch.arange(used - width, used, device=self._device)
        self._places = before.repeat(self._mask.shape[2] // width)[:, None]
        self._cache.begin_steps(self._places[:width, 0], end)
        # not a method: that would keep the cache alive until the garbage is collected
        step = partial(logits_at, self._model, None, self._ids, self._positions, self._mask, self._cache)
        self._compute = self._graphs.of(step) if self._room >= _WORTH_A_GRAPH else step
