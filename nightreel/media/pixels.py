"""Convert a decoded picture to upright 8-bit RGB of the wanted size. Called by `decoding`, in the sandbox.

The stream's own colour matrix and range apply. Where the stream names none, ffmpeg's default (BT.601, limited) applies,
as in the pipelines that video LLMs were trained with. HDR is tone-mapped: see `tone_map`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from nightreel.errors import PermanentError
from nightreel.media.geometry import Geometry
from nightreel.reasons import Reason

_REFERENCE_WHITE_NITS = 203.0  # ITU-R BT.2408: diffuse white of HDR programmes
_BT2020_TO_BT709 = np.array(  # ITU-R BT.2087, on linear light
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)
# ITU-T H.273 table 4: matrices that swscale converts, and those that the standard defines but swscale refuses.
_CONVERTIBLE = frozenset({0, 1, 2, 4, 5, 6, 7, 9})
_REFUSED = frozenset({8, *range(10, 18)})
_UNSPECIFIED = 2


def settle_colours(frame: VideoFrame) -> None:
    """Make sure that the frame's colours can be converted. A reserved matrix counts as not specified.

    Raises:
        PermanentError: `unsupported_colours`.
    """
    matrix = int(frame.colorspace)
    if matrix in _REFUSED:
        raise PermanentError(
            Reason.UNSUPPORTED_COLOURS,
            f"its colour matrix is number {matrix} of ITU-T H.273, which ffmpeg cannot convert: convert it to BT.709",
        )
    if matrix not in _CONVERTIBLE:
        frame.colorspace = _UNSPECIFIED


class PixelWriter:
    """Writes pictures into slots of a (T, height, width, 3) uint8 array.

    Args:
        geometry: how a stored picture becomes an upright one.
        stored_hw: height and width of the pictures that `geometry` and the array are for. A picture of another size
            (a stream may change it) keeps its shape: it is fitted into the slot, on black.
        hdr: "pq", "hlg" or None.
    """

    def __init__(
        self, frames_thwc: np.ndarray, *, geometry: Geometry, stored_hw: tuple[int, int], hdr: str | None
    ) -> None:
        self._frames = frames_thwc
        self._geometry = geometry
        self._stored_hw = stored_hw
        self._hdr = hdr
        self._reformatter = VideoReformatter()

    def write(self, slot: int, frame: VideoFrame) -> None:
        """Write one picture. Raises as `settle_colours`."""
        settle_colours(frame)
        height, width = self._frames.shape[1:3]
        if self._geometry.sideways:
            height, width = width, height  # of the slot, as stored
        if (frame.height, frame.width) == self._stored_hw:
            picture = self._cut(frame, height=height, width=width)
        else:
            picture = self._fitted(frame, height=height, width=width)
        self._frames[slot] = self._geometry.apply_turn(picture)

    def _cut(self, frame: VideoFrame, *, height: int, width: int) -> np.ndarray:
        """The picture without what the geometry cuts off, at this size."""
        left, top, right, bottom = self._geometry.crop
        if not any(self._geometry.crop):
            return self._rgb(frame, height=height, width=width)
        scale_x = width / (frame.width - left - right)
        scale_y = height / (frame.height - top - bottom)
        whole_hw = (max(height, round(frame.height * scale_y)), max(width, round(frame.width * scale_x)))
        whole = self._rgb(frame, height=whole_hw[0], width=whole_hw[1])
        x = min(round(left * scale_x), whole_hw[1] - width)
        y = min(round(top * scale_y), whole_hw[0] - height)
        return whole[y : y + height, x : x + width]

    def _fitted(self, frame: VideoFrame, *, height: int, width: int) -> np.ndarray:
        """The whole picture in its own shape, in the middle of a black one of this size."""
        left, top, right, bottom = self._geometry.crop
        cut_height, cut_width = self._stored_hw[0] - top - bottom, self._stored_hw[1] - left - right
        aspect = (width / cut_width) / (height / cut_height)  # of pixels, as the first pictures have them
        scale = min(width / (frame.width * aspect), height / frame.height)
        own_hw = (max(1, round(frame.height * scale)), max(1, round(frame.width * aspect * scale)))
        own_hw = (min(own_hw[0], height), min(own_hw[1], width))
        out = np.zeros((height, width, 3), np.uint8)
        y, x = (height - own_hw[0]) // 2, (width - own_hw[1]) // 2
        out[y : y + own_hw[0], x : x + own_hw[1]] = self._rgb(frame, height=own_hw[0], width=own_hw[1])
        return out

    def _rgb(self, frame: VideoFrame, *, height: int, width: int) -> np.ndarray:
        rgb = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb48le" if self._hdr else "rgb24",
            interpolation=Interpolation.BICUBIC,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        plane = rgb.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(height, plane.line_size)
        if self._hdr:
            return tone_map(rows[:, : width * 6].view("<u2").reshape(height, width, 3), self._hdr)
        return rows[:, : width * 3].reshape(height, width, 3)


def tone_map(rgb16: np.ndarray, transfer: str) -> np.ndarray:
    """Convert HDR (BT.2020 primaries, PQ or HLG) to BT.709 SDR.

    Steps: light in units of reference white, Reinhard on the brightest channel to keep hues, BT.709 primaries, 1/2.2
    gamma.

    Args:
        rgb16: uint16 (H, W, 3), non-linear.

    Returns:
        uint8 (H, W, 3).
    """
    light = _linear_light(transfer)[rgb16 >> 4]  # (H, W, 3), 1 = reference white
    peak = light.max(axis=2, keepdims=True)
    ceiling = 1000.0 / _REFERENCE_WHITE_NITS  # maps to full white
    light *= (1 + peak / ceiling**2) / (1 + peak)  # extended Reinhard (2002), equation 4
    steps = (np.clip(light @ _BT2020_TO_BT709.T, 0, 1) * 4095).astype(np.uint16)
    return np.asarray(_gamma()[steps])


@cache
def _linear_light(transfer: str) -> np.ndarray:
    """float32 (4096,): light of a 12-bit signal, 1 = reference white. SMPTE ST 2084; ARIB STD-B67 at 1000 nits."""
    signal = np.arange(4096) / 4095
    if transfer == "pq":
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = signal ** (1 / m2)
        nits = 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
        nits = 1000 * scene**1.2
    return (nits / _REFERENCE_WHITE_NITS).astype(np.float32)


@cache
def _gamma() -> np.ndarray:
    """uint8 (4096,): display code of each 12-bit light value."""
    return np.round(255 * (np.arange(4096) / 4095) ** (1 / 2.2)).astype(np.uint8)
