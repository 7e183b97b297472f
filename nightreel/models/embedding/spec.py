"""What a dual encoder is: its identity, its files, and what a loaded one can do. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from nightreel.domain import content_hash
from nightreel.models.checkpoints.checkpoint import Checkpoint

_POOLING = "mean-of-8"
"""How the vectors of frames become one: another way is another kind of vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """The identity of a dual encoder: the row of table `embedding_models`.

    Args:
        name: hub id, or the last part of the directory's path. revision: as of a ModelSpec.
        model_type: as config.json names it.
    """

    name: str
    revision: str
    model_type: str
    pooling: str = _POOLING

    @property
    def hash(self) -> str:
        """Of the values that must be equal for vectors to be comparable. Excludes a directory's name."""
        values = self.to_json()
        if self.revision.startswith("sha256:"):
            del values["name"]
        return content_hash(values)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEncoder:
    """A dual encoder before it is loaded."""

    spec: EncoderSpec
    checkpoint: Checkpoint


class SegmentEncoder(Protocol):
    """A loaded dual encoder. Not thread-safe: callers must hold a lock."""

    spec: EncoderSpec

    def segments(self, segments: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The vectors of segments, float32 (width,), of length 1, from their frames: uint8 RGB (N, H, W, 3), in order.

        Raises:
            PermanentError: `unsupported_model` if frames become no vector; `memory_too_small`.
        """
        ...

    def text(self, text: str) -> np.ndarray:
        """The vector of a text: float32 (width,), of length 1. What is longer than the model reads is cut off.

        Raises:
            PermanentError: as `segments`.
        """
        ...
