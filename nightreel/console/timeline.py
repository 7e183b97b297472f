"""The timeline of a video as shapes of an SVG: its segments, its flags, and where a second look was taken.

A row for each kind; x is a share of the video's length. The template draws what this module computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 1000
_ROW = 22
_BAR = 14
_NARROWEST = 3.0
_MOST_ROWS = 12


Shown = dict[str, Any]
"""A row of a view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A part of the video. `kind`: a class of the stylesheet. `start_s`: where the player goes."""

    x: float
    y: float
    width: float
    kind: str
    title: str
    start_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of bars with its name."""

    name: str
    y: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What the SVG shows. `hidden`: rows that had no room."""

    rows: tuple[Row, ...]
    height: int
    duration_s: float
    hidden: int
    bar_height: int = _BAR
    width: int = WIDTH


def draw_timeline(
    duration_s: float,
    *,
    segments: Sequence[Shown],
    flags: Sequence[Shown],
    looks: Sequence[Shown],
) -> Timeline:
    """The timeline of a video.

    Args:
        segments: rows of the view `segments`. flags: of `flags`. looks: of `answers` with a second look.

    >>> made = draw_timeline(60.0, segments=[{"segment": 0, "start_s": 0.0, "end_s": 30.0}], flags=[], looks=[])
    >>> made.rows[0].bars[0].width, made.height
    (500.0, 22)
    """
    parts: list[tuple[str, str, list[tuple[float, float, str]]]] = [
        ("segments", "segment", [(one["start_s"], one["end_s"], str(one["segment"])) for one in segments])
    ]
    for flag in flags:
        kind = "flagged" if flag["found"] == "flagged" else "unknown"
        ranges = flag["ranges"] or [[flag["first_s"] or 0.0, duration_s]]
        parts.append((flag["prompt"], kind, [(float(start), float(end), flag["found"]) for start, end in ranges]))
    if looks:
        parts.append(("second looks", "look", [(one["start_s"], one["end_s"], one["prompt"]) for one in looks]))
    shown = parts[:_MOST_ROWS]
    return Timeline(
        rows=tuple(_row(index, *part, duration_s) for index, part in enumerate(shown)),
        height=len(shown) * _ROW,
        duration_s=duration_s,
        hidden=len(parts) - len(shown),
    )


def _row(index: int, name: str, kind: str, ranges: list[tuple[float, float, str]], duration_s: float) -> Row:
    y = index * _ROW + (_ROW - _BAR) / 2
    scale = WIDTH / max(duration_s, *(end for _, end, _ in ranges), 0.001) if ranges else 1.0
    bars = tuple(
        Bar(
            x=round(start * scale, 1),
            y=y,
            width=round(max(_NARROWEST, (end - start) * scale), 1),
            kind=kind,
            title=title,
            start_s=start,
        )
        for start, end, title in ranges
    )
    return Row(name=name, y=y, bars=bars)
