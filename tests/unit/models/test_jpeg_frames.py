"""Frames become JPEG files."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from nightreel.domain import Features, FrameBatch
from nightreel.errors import PermanentError
from nightreel.models.served.jpeg_frames import pictures_of, to_jpegs


def batch(frames_thwc: np.ndarray) -> FrameBatch:
    frames = len(frames_thwc)
    return FrameBatch(
        frames_thwc=frames_thwc,
        pts_s=np.arange(frames, dtype=np.float64),
        flags=((),) * frames,
        decoder="pyav",
        decoder_version="1",
        fps=1.0,
        source_hw=frames_thwc.shape[1:3],
    )


def features(frames: int = 2) -> Features:
    black = batch(np.zeros((frames, 8, 8, 3), np.uint8))
    return Features(
        key="k" * 64,
        tensors=to_jpegs(black, short_side=8, quality=85),
        pts_s=tuple(30.0 + index for index in range(frames)),
        metadata={"segment": [1, 30.0, 60.0]},
    )


def test_colours_and_orientation_survive() -> None:
    frame = np.zeros((1, 64, 96, 3), np.uint8)
    frame[0, :32, :, 0] = 255  # red above, blue below
    frame[0, 32:, :, 2] = 255
    (tensor,) = to_jpegs(batch(frame), short_side=64, quality=90)
    assert (tensor.dtype, tensor.shape) == ("uint8", (len(tensor.data),))
    shown = np.asarray(Image.open(io.BytesIO(tensor.data))).astype(int)
    assert np.abs(shown[:28] - frame[0, :28]).max() < 20
    assert np.abs(shown[36:] - frame[0, 36:]).max() < 20


@pytest.mark.parametrize(("height", "width", "size"), [(90, 160, (80, 45)), (160, 90, (45, 80)), (40, 60, (60, 40))])
def test_large_frames_shrink_and_small_ones_stay(height: int, width: int, size: tuple[int, int]) -> None:
    (tensor,) = to_jpegs(batch(np.zeros((1, height, width, 3), np.uint8)), short_side=45, quality=85)
    assert Image.open(io.BytesIO(tensor.data)).size == size


def test_a_frame_too_wide_for_a_jpeg_causes_a_permanent_error() -> None:
    with pytest.raises(PermanentError, match="70000x2") as caught:
        to_jpegs(batch(np.zeros((1, 2, 70_000, 3), np.uint8)), short_side=448, quality=85)
    assert caught.value.reason == "unencodable_frames"


def test_features_that_are_not_pictures_are_refused() -> None:
    good = features()
    spoilt = replace(good.tensors[0], data=b"\x00" * 10, shape=(10,))
    for tensors in ((), good.tensors[:1], (spoilt, good.tensors[1])):
        with pytest.raises(PermanentError) as caught:
            pictures_of(replace(good, tensors=tensors))
        assert caught.value.reason == "stale_feature"
