"""Estimated memory of a model on a device, available before the weights are loaded.

`nightreel model` prints it, `requirement` computes leases from it. `inprocess.footprint` makes it.
"""

from __future__ import annotations

from dataclasses import dataclass

from nightreel.models.base import ModelSpec
from nightreel.models.memory.shapes import BatchBytes, FrameShape, SegmentShape

CPU_BUDGET_BYTES = 1 << 30
"""Budget of a batch on the CPU, where nothing is measured."""
GPU_SHARE = 0.6
"""Share of free memory, after the weights are loaded, for batches; the rest is for fragments and workspaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Memory of one model for segments of one shape.

    Args:
        weights_bytes: parameters and buffers.
        token_bytes: keys and values of one token.
        vision_bytes: pixels and widest activations of the vision tower for one segment.
        language: bytes of batches of the language side: keys, values, activations, logits, masks.
        shape, frames: the shape of the segment for the language side and for the vision tower.
    """

    spec: ModelSpec
    weights_bytes: int
    token_bytes: int
    vision_bytes: int
    language: BatchBytes
    shape: SegmentShape
    frames: FrameShape

    @property
    def segment_bytes(self) -> int:
        """Bytes of one segment alone on the language side."""
        return self.language.of(1)

    def largest_batch(self, free_bytes: int, *, on_gpu: bool) -> int:
        """Number of segments per batch on a device with this much free memory; 0 if the model does not fit."""
        left = free_bytes - self.weights_bytes
        if left < self.vision_bytes:
            return 0
        room = int(left * GPU_SHARE) if on_gpu else min(left, CPU_BUDGET_BYTES)
        return self.language.most(room)
