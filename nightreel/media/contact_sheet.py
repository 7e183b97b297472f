"""Draw frames as one picture for people, each frame with its time and its flags or decoder.

Called by `nightreel frames` for a large sheet and by the encode stage for a thumbnail, whose frames `nightreel vectors
fill` takes out again. Opens no file.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nightreel.domain import FrameBatch
from nightreel.errors import PermanentError
from nightreel.reasons import Reason

_GAP_PX = 6
_CAPTION_PX = 20
_WIDEST_TILE_PX = 1024
_MOST_PIXELS = 64 << 20  # of a stored sheet
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


def cut_contact_sheet(jpeg: bytes, *, frames: int, columns: int = 4) -> np.ndarray:
    """The frames of a sheet that was stored as a JPEG, small as they are there: uint8 (frames, height, width, 3).

    Args:
        frames: number of frames that were drawn. columns: as `draw_contact_sheet`.

    Raises:
        PermanentError: `damaged_feature`: it is no sheet of so many frames.
    """
    across = min(columns, frames)
    down = math.ceil(frames / across) if across else 0
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
            width, wide = divmod(picture.width - _GAP_PX, across)
            height, high = divmod(picture.height - _GAP_PX, down)
            width, height = width - _GAP_PX, height - _CAPTION_PX - _GAP_PX
            fits = 0 < width <= _WIDEST_TILE_PX and height > 0 and picture.width * picture.height <= _MOST_PIXELS
            if wide or high or not fits:
                raise ValueError(f"{picture.width}x{picture.height} pixels")
            pixels = np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, ZeroDivisionError, Image.DecompressionBombError) as error:
        raise PermanentError(
            Reason.DAMAGED_FEATURE, f"the thumbnail is no contact sheet of {frames} frames ({error})"
        ) from error
    places = [divmod(index, across) for index in range(frames)]
    tops = [_GAP_PX + row * (height + _CAPTION_PX + _GAP_PX) for row, _ in places]
    lefts = [_GAP_PX + column * (width + _GAP_PX) for _, column in places]
    return np.stack([pixels[y : y + height, x : x + width] for y, x in zip(tops, lefts, strict=True)])


def encode_jpeg(picture: Image.Image, *, quality: int) -> bytes:
    """Encode a picture as the bytes of a JPEG file; `quality` is 1 to 95."""
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality, optimize=True)
    return data.getvalue()
