"""Convert a decoded picture to upright 8-bit RGB of the wanted size. Called by `decoding`, in the sandbox.

The stream's own colour matrix and range apply. Where the stream names none, ffmpeg's default (BT.601, limited) applies,
as in the pipelines that video LLMs were trained with. HDR is tone-mapped: see `tone_map`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

_REFERENCE_WHITE_NITS = 203.0  # ITU-R BT.2408: diffuse white of HDR programmes
_BT2020_TO_BT709 = np.array(  # ITU-R BT.2087, on linear light
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)


class PixelWriter:
    """Writes pictures into slots of a (T, height, width, 3) uint8 array.

    Args:
        rotation: degrees counter-clockwise to turn a stored picture by.
        hdr: "pq", "hlg" or None.
    """

    def __init__(self, frames_thwc: np.ndarray, *, rotation: int, hdr: str | None) -> None:
        self._frames = frames_thwc
        self._turns = rotation // 90
        self._hdr = hdr
        height, width = frames_thwc.shape[1:3]
        self._stored = (height, width) if self._turns % 2 else (width, height)
        self._reformatter = VideoReformatter()

    def write(self, slot: int, frame: VideoFrame) -> None:
        width, height = self._stored
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
            picture = tone_map(rows[:, : width * 6].view("<u2").reshape(height, width, 3), self._hdr)
        else:
            picture = rows[:, : width * 3].reshape(height, width, 3)
        self._frames[slot] = np.rot90(picture, self._turns)


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
