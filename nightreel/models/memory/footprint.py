"""Memory that a model takes of a device, before a single weight is loaded.

`nightreel model` prints it, `requirement` adds it up for a lease. `inprocess.footprint` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass

from nightreel.models.base import ModelSpec
from nightreel.models.memory.shapes import FrameShape, SegmentShape

CPU_BUDGET_BYTES = 1 << 30
"""Of a batch on the CPU, where nothing is measured."""
GPU_SHARE = 0.6
"""Of the memory that is free once the weights are loaded: the rest is for fragments and workspaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Bytes of one model for segments of one shape.

    Args:
        weights_bytes: parameters and buffers.
        token_bytes: keys and values of one token.
        vision_bytes: pixels and widest activations of the vision tower for one segment.
        segment_bytes: what one segment adds to a batch of the language side: keys, values, activations, logits, masks.
        shape, frames: such a segment, as the language side and the vision tower see it.
    """

    spec: ModelSpec
    weights_bytes: int
    token_bytes: int
    vision_bytes: int
    segment_bytes: int
    shape: SegmentShape
    frames: FrameShape

    def largest_batch(self, free_bytes: int, *, on_gpu: bool) -> int:
        """Segments that are admitted together to a device with so much memory free; 0 if the model does not fit."""
        left = free_bytes - self.weights_bytes
        if left < self.vision_bytes:
            return 0
        room = int(left * GPU_SHARE) if on_gpu else min(left, CPU_BUDGET_BYTES)
        return room // self.segment_bytes
