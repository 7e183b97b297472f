"""Clips of the demo's world: sequences of scenes, the correct scene for every time range, and video files.

The demo, the tests and the benchmark make clips. The model sees only their frames.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from nightreel.demo.drawing import FPS, SIZE_PX, paint_frames
from nightreel.demo.scenes import Scene, draw_scene
from nightreel.errors import SettingsError

_SHORT_S = (4, 8)
_ROUNDING_S = 0.05


@dataclass(frozen=True, slots=True)
class Part:
    """A time range of a clip, in seconds, and the one scene it shows."""

    start_s: float
    end_s: float
    scene: Scene


@dataclass(frozen=True, slots=True)
class Clip:
    """A video before it is encoded.

    Args:
        parts: in order, without gaps; the first starts at 0.
    """

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, *scenes: tuple[Scene, float]) -> Clip:
        """A clip of (scene, duration in seconds) pairs."""
        edges = [0.0, *accumulate(duration_s for _, duration_s in scenes)]
        return cls(tuple(Part(edges[i], edges[i + 1], scene) for i, (scene, _) in enumerate(scenes)))

    def scene_in(self, start_s: float, end_s: float) -> Scene:
        """The scene of a segment.

        Raises:
            SettingsError: the segment shows several scenes, so it has no single correct answer.
        """
        least_s, most_s = start_s + _ROUNDING_S, end_s - _ROUNDING_S
        shown = [part.scene for part in self.parts if part.start_s < most_s and part.end_s > least_s]
        if len(shown) != 1:
            raise SettingsError(
                f"{len(shown)} scenes from {start_s} to {end_s} s, expected 1: set another NIGHTREEL_WINDOW_S"
            )
        return shown[0]

    def frames(self, *, width: int = SIZE_PX, height: int = SIZE_PX, fps: int = FPS) -> Iterator[np.ndarray]:
        """The frames: uint8 RGB (height, width, 3), `fps` a second."""
        for part in self.parts:
            count = max(1, round((part.end_s - part.start_s) * fps))
            yield from paint_frames(part.scene, count=count, width=width, height=height)


def draw_clip(seed: int | str) -> Clip:
    """One scene of 4 to 8 seconds."""
    length_s = random.Random(f"length {seed}").uniform(*_SHORT_S)  # noqa: S311 - not a secret
    return Clip.of((draw_scene(seed), round(length_s * FPS) / FPS))


def write_clip(
    path: Path, clip: Clip, *, width: int = SIZE_PX, height: int = SIZE_PX, fps: int = FPS, crf: int = 23
) -> Path:
    """Encode a clip as H.264. The file appears when it is complete. The same clip gives the same bytes."""
    from nightreel.media.writing import write_h264  # imports PyAV, which no other command needs

    write_h264(path, clip.frames(width=width, height=height, fps=fps), fps=fps, crf=crf)
    return path
