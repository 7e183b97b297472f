"""Draw the demo's clips as one picture: frames, the model's captions and its alerts.

`nightreel demo` calls it. It opens no file and calls no model.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_FRAME_PX = 112
_GAP_PX = 14
_LINE_PX = 17
_LINES = 4
_FONT_PX = 13
_LETTERS_A_LINE = 54
_COLUMNS = 3
_BACKGROUND = (17, 24, 39)
_PANEL = (31, 41, 55)
_TEXT = (229, 231, 235)
_DIM = (156, 163, 175)
_ALERT = (248, 113, 113)


@dataclass(frozen=True)
class Panel:
    """One segment.

    Args:
        title: file and time range.
        frames: uint8 RGB (height, width, 3) each, in order of time; the same number in every panel.
        caption: the model's caption.
        alert: what the model found, and why; empty: nothing. A panel with an alert gets a red border.
    """

    title: str
    frames: Sequence[np.ndarray]
    caption: str
    alert: str = ""


def draw_poster(panels: Sequence[Panel]) -> Image.Image:
    """Draw all panels, row by row."""
    frames = max(len(panel.frames) for panel in panels)
    width = frames * (_FRAME_PX + 4) + 12
    height = _FRAME_PX + (_LINES + 1) * _LINE_PX + 24
    columns = min(_COLUMNS, len(panels))
    size = (
        columns * (width + _GAP_PX) + _GAP_PX,
        math.ceil(len(panels) / columns) * (height + _GAP_PX) + _GAP_PX,
    )
    poster = Image.new("RGB", size, _BACKGROUND)
    for index, panel in enumerate(panels):
        down, across = divmod(index, columns)
        picture = _draw_panel(panel, (width, height))
        poster.paste(picture, (_GAP_PX + across * (width + _GAP_PX), _GAP_PX + down * (height + _GAP_PX)))
    return poster


def _draw_panel(panel: Panel, size: tuple[int, int]) -> Image.Image:
    picture = Image.new("RGB", size, _PANEL)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT_PX)
    draw.text((8, 6), panel.title, fill=_DIM, font=font)
    top = 6 + _LINE_PX + 3
    for index, frame in enumerate(panel.frames):
        small = Image.fromarray(np.ascontiguousarray(frame)).resize((_FRAME_PX, _FRAME_PX), Image.Resampling.BILINEAR)
        picture.paste(small, (8 + index * (_FRAME_PX + 4), top))
    lines = [(line, _TEXT) for line in textwrap.wrap(panel.caption, _LETTERS_A_LINE)]
    lines += [(line, _ALERT) for line in textwrap.wrap(panel.alert, _LETTERS_A_LINE)]
    for number, (line, colour) in enumerate(lines[:_LINES]):
        draw.text((8, top + _FRAME_PX + 6 + number * _LINE_PX), line, fill=colour, font=font)
    if panel.alert:
        draw.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=_ALERT, width=3)
    return picture
