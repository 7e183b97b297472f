"""Draw frames as one picture for people, each frame with its time and its flags or decoder.

Called by `nightreel frames` for a large sheet and by the encode stage for a thumbnail. Takes decoded frames; opens no
file.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nightreel.domain import FrameBatch

_GAP_PX = 6
_CAPTION_PX = 20
_FONT_PX = 12
_BACKGROUND = (17, 24, 39)
_TEXT = (229, 231, 235)
_FLAGGED = (248, 113, 113)


def draw_contact_sheet(batch: FrameBatch, *, columns: int = 4, tile_width: int = 240) -> Image.Image:
    """Draw all frames of a batch, row by row, with a caption below each. A flagged frame gets a red border and caption.

    Args:
        tile_width: width of each frame in pixels; the aspect ratio is kept.

    >>> black = FrameBatch(frames_thwc=np.zeros((3, 90, 160, 3), np.uint8), pts_s=np.array([0.0, 1.5, 3.0]),
    ...                    flags=((), (), ()), decoder="pyav", decoder_version="18", fps=2, source_hw=(90, 160))
    >>> draw_contact_sheet(black, columns=2, tile_width=160).size      # two rows of 6 + 90 + 20, and 6 at the end
    (338, 238)
    """
    count, height, width, _ = batch.frames_thwc.shape
    tile = tile_width, max(1, round(height * tile_width / width))
    columns = min(columns, count)
    across, down = tile[0] + _GAP_PX, tile[1] + _CAPTION_PX + _GAP_PX
    size = columns * across + _GAP_PX, math.ceil(count / columns) * down + _GAP_PX
    sheet = Image.new("RGB", size, _BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_PX)
    frames = zip(batch.frames_thwc, batch.pts_s, batch.flags, strict=True)
    for index, (frame, pts_s, flags) in enumerate(frames):
        x, y = _GAP_PX + index % columns * across, _GAP_PX + index // columns * down
        sheet.paste(Image.fromarray(np.ascontiguousarray(frame)).resize(tile, Image.Resampling.BILINEAR), (x, y))
        words = f"{pts_s:.3f} s", *(flags or (batch.decoder,))
        draw.text((x, y + tile[1] + 3), "  ".join(words), fill=_FLAGGED if flags else _TEXT, font=font)
        if flags:
            draw.rectangle((x, y, x + tile[0] - 1, y + tile[1] - 1), outline=_FLAGGED, width=3)
    return sheet


def encode_jpeg(picture: Image.Image, *, quality: int) -> bytes:
    """Encode a picture as the bytes of a JPEG file; `quality` is 1 to 95."""
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality, optimize=True)
    return data.getvalue()
