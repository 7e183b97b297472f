"""Draw scenes as pixels, with soft edges, for clips and for training. One formula draws all shapes but the circle.

A shape is a star with `points` outer corners at `outer` radii and as many inner corners at `inner` radii. A square and
a triangle are stars whose inner corners lie on the lines between the outer ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nightreel.demo.scenes import BACKGROUNDS, COLOURS, REACH, Scene

FPS = 12
SIZE_PX = 128


@dataclass(frozen=True, slots=True)
class _Outline:
    points: int
    outer: float
    inner: float
    turn: float  # radians, clockwise, from an outer corner at the top


_OUTLINES = {
    "square": _Outline(4, 1.25, 1.25 * math.cos(math.pi / 4), math.pi / 4),
    "triangle": _Outline(3, REACH, REACH / 2, 0.0),
    "star": _Outline(5, REACH, 0.55, 0.0),
}


@dataclass(frozen=True, slots=True)
class Coverage:
    """A shape's pixels in a picture; `alpha`, float32 (rows, columns), is the share of each pixel it covers."""

    rows: slice
    columns: slice
    alpha: np.ndarray


def cover(
    shape: str, *, x: float, y: float, radius: float, width: int, height: int, aspect: float | None = None
) -> Coverage:
    """Compute which pixels of a picture a shape covers.

    Args:
        x, y: its centre, as shares of width and height.
        radius: share of the video's shorter side.
        aspect: width / height of the video if the picture is squeezed to another aspect; None: the picture's own.
    """
    aspect = width / height if aspect is None else aspect
    # Pixels per shorter side, across and down.
    across, down = width / max(aspect, 1.0), height * min(aspect, 1.0)
    columns = _span(x * width, REACH * radius * across, width)
    rows = _span(y * height, REACH * radius * down, height)
    dx = ((np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5 - x * width) / across)[None, :]
    dy = ((np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5 - y * height) / down)[:, None]
    depth = _depth(shape, dx, dy, radius) * math.sqrt(across * down)  # pixels inside the outline
    return Coverage(rows, columns, np.clip(depth + 0.5, 0, 1, dtype=np.float32))


def paint_frames(scene: Scene, *, count: int, width: int = SIZE_PX, height: int = SIZE_PX) -> Iterator[np.ndarray]:
    """Paint the scene from start to end in `count` frames: uint8 RGB (height, width, 3)."""
    for index in range(count):
        yield paint(scene, index / max(1, count - 1), width=width, height=height)


def paint(scene: Scene, moment: float, *, width: int, height: int) -> np.ndarray:
    """Paint one frame, uint8 RGB (height, width, 3); `moment` runs from 0, the scene's start, to 1, its end."""
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = BACKGROUNDS[scene.background]
    dx, dy = scene.offset(moment)
    for thing in scene.things:
        part = cover(thing.shape, x=thing.x + dx, y=thing.y + dy, radius=thing.radius, width=width, height=height)
        place = picture[part.rows, part.columns]
        place += part.alpha[..., None] * (np.array(COLOURS[thing.colour], np.float32) - place)
    return np.round(picture).astype(np.uint8)


def _depth(shape: str, dx: np.ndarray, dy: np.ndarray, radius: float) -> np.ndarray:
    """The depth of points inside an outline, in the units of `radius`; negative outside."""
    reach = np.sqrt(dx * dx + dy * dy)
    if shape == "circle":
        return np.asarray(radius - reach)
    outline = _OUTLINES[shape]
    step = 2 * math.pi / outline.points
    # All sectors between an outer corner and the next inner one look the same: fold them into one.
    angle = np.arctan2(dx, -dy) + (outline.turn + step / 2)
    angle = np.abs(angle - step * np.floor(angle / step) - step / 2)
    edge_x = outline.outer - outline.inner * math.cos(step / 2)
    edge_y = outline.inner * math.sin(step / 2)
    length = math.hypot(edge_x, edge_y)
    inside = (outline.outer * radius - reach * np.cos(angle)) * edge_y - reach * np.sin(angle) * edge_x
    return np.asarray(inside / length)


def _span(middle: float, reach: float, size: int) -> slice:
    return slice(max(0, math.floor(middle - reach - 1)), max(0, min(size, math.ceil(middle + reach + 1))))
