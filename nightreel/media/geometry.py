"""From a stored picture to the picture as people see it: cut to the clean aperture, turned and mirrored upright.

Called by `inspection`, which reads the geometry of a file, and by `decode_job` and `pixels`, which apply it. Pure
functions over numbers and text.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import numpy as np

_MATRIX_BYTES = 36


@dataclass(frozen=True, slots=True)
class Geometry:
    """How stored pictures become upright ones: cut, then turned, then mirrored.

    Args:
        crop: pixels to cut off the stored picture: left, top, right, bottom.
        rotation: degrees counter-clockwise to turn it by: 0, 90, 180 or 270.
        mirrored: swap left and right after the turn.
    """

    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    rotation: int = 0
    mirrored: bool = False

    @property
    def sideways(self) -> bool:
        return self.rotation % 180 != 0

    def apply_turn(self, picture: np.ndarray) -> np.ndarray:
        """Turn and mirror an (H, W, 3) picture that is already cut."""
        turned = np.rot90(picture, self.rotation // 90)
        return turned[:, ::-1] if self.mirrored else turned


def orientation_of(matrix: bytes) -> tuple[int, bool]:
    """Rotation and mirroring of a display matrix, to the nearest of the eight; (0, False) if it is invalid.

    The matrix maps a stored pixel (x, y) to (ax + cy, bx + dy) (ISO/IEC 14496-12 6.2.2).

    Args:
        matrix: nine int32 in the order a b u c d v x y w.
    """
    if len(matrix) < _MATRIX_BYTES:
        return 0, False
    a, b, _, c, d = struct.unpack("<5i", matrix[:20])
    if a * d == b * c:
        return 0, False
    mirrored = a * d - b * c < 0
    if mirrored:  # without the mirroring of the result, x' is -x'
        a, c = -a, -c
    degrees = float(np.degrees(np.arctan2(float(c) - float(b), float(a) + float(d))))
    return round(degrees / 90) % 4 * 90, mirrored


def crop_in_dump(dump: str, stream_index: int) -> tuple[int, int, int, int]:
    """The clean aperture (MP4) or crop (Matroska) of a stream: left, top, right, bottom.

    Args:
        dump: ffmpeg's description of the file, which names it as left/right/top/bottom.
    """
    own = re.search(rf"^  Stream #0:{stream_index}\b.*?(?=^  Stream #|\Z)", dump, re.MULTILINE | re.DOTALL)
    found = own and re.search(r"^ +Frame [Cc]ropping: (\d+)/(\d+)/(\d+)/(\d+)$", own.group(), re.MULTILINE)
    if not found:
        return 0, 0, 0, 0
    left, right, top, bottom = (int(number) for number in found.groups())
    return left, top, right, bottom


def fitting_crop(crop: tuple[int, int, int, int], width: int, height: int) -> tuple[int, int, int, int]:
    """`crop`, or none if it would leave nothing of a stored picture of this size."""
    left, top, right, bottom = crop
    return crop if left + right < width and top + bottom < height else (0, 0, 0, 0)
