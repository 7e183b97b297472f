"""Pixels: the colours of the stream, upright, in the requested size, with HDR tone-mapped."""

import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange

from nightreel.errors import PermanentError
from nightreel.media.geometry import Geometry
from nightreel.media.pixels import PixelWriter, tone_map

UPRIGHT = Geometry()


def _yuv(luma, blue, red, *, width=32, height=16, full_range=False, colorspace=5):
    planes = [np.full((height, width), luma), np.full((height // 2, width // 2), blue),
              np.full((height // 2, width // 2), red)]  # fmt: skip
    packed = np.concatenate([plane.astype(np.uint8).reshape(-1, width) for plane in planes])
    frame = VideoFrame.from_ndarray(packed, format="yuv420p")
    frame.colorspace = colorspace  # ITU-T H.273: 1 is BT.709, 5 BT.601
    frame.color_range = ColorRange.JPEG if full_range else ColorRange.MPEG
    return frame


def _write(frame, *, height=16, width=32, geometry=UPRIGHT, stored_hw=(16, 32)):
    frames = np.zeros((1, height, width, 3), dtype=np.uint8)
    PixelWriter(frames, geometry=geometry, stored_hw=stored_hw, hdr=None).write(0, frame)
    return frames[0]


@pytest.mark.parametrize(
    ("luma", "full_range", "grey"),
    [(16, False, 0), (126, False, 128), (235, False, 255), (0, True, 0), (128, True, 128), (255, True, 255)],
)
def test_limited_and_full_range_both_reach_black_and_white(luma, full_range, grey):
    picture = _write(_yuv(luma, 128, 128, full_range=full_range))
    assert np.abs(picture.astype(int) - grey).max() <= 1


def test_the_matrix_of_the_stream_is_obeyed():
    # Pure red in the numbers of each matrix (ITU-R BT.601, BT.709 and BT.2020, limited range).
    bt601 = _write(_yuv(81, 90, 240, colorspace=5))
    bt709 = _write(_yuv(63, 102, 240, colorspace=1))
    bt2020 = _write(_yuv(74, 97, 240, colorspace=9))
    for picture in (bt601, bt709, bt2020):
        assert np.abs(picture[0, 0].astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize(("rotation", "corner"), [(0, (0, 0)), (90, (-1, 0)), (180, (-1, -1)), (270, (0, -1))])
def test_a_picture_is_rotated_counter_clockwise(rotation, corner):
    stored = np.zeros((16, 32, 3), dtype=np.uint8)
    stored[:8, :16] = 255  # top left
    upright_hw = (32, 16) if rotation % 180 else (16, 32)
    frame = VideoFrame.from_ndarray(stored, format="rgb24")
    picture = _write(frame, height=upright_hw[0], width=upright_hw[1], geometry=Geometry(rotation=rotation))
    assert picture.shape[:2] == upright_hw
    assert picture[corner].tolist() == [255, 255, 255]
    assert (picture == 255).mean() == pytest.approx(0.25)


@pytest.mark.parametrize("transfer", ["pq", "hlg"])
def test_tone_mapping_keeps_black_grey_and_order(transfer):
    ramp = np.linspace(0, 65_535, 256).astype(np.uint16)
    grey = np.repeat(ramp[None, :, None], 3, axis=2)
    mapped = tone_map(grey, transfer).astype(int)
    assert mapped[0, 0].tolist() == [0, 0, 0]
    assert mapped[0, -1].min() >= 254
    assert np.abs(np.diff(mapped, axis=2)).max() <= 1  # grey stays grey
    assert np.diff(mapped[0, :, 0]).min() >= 0


def test_diffuse_white_of_pq_is_bright_but_leaves_room_for_highlights():
    signal = round(0.5806 * 65_535)  # ST 2084 of 203 nits, by ITU-R BT.2408
    mapped = tone_map(np.full((1, 1, 3), signal, dtype=np.uint16), "pq")
    assert 170 <= mapped[0, 0, 0] <= 220


def test_hues_survive_tone_mapping():
    red = np.array([[[40_000, 8_000, 8_000]]], dtype=np.uint16)
    mapped = tone_map(red, "pq")[0, 0]
    assert mapped[0] > 2 * mapped[1]


def test_a_picture_of_another_shape_keeps_its_shape_on_black():
    tall = VideoFrame.from_ndarray(np.full((64, 32, 3), 255, dtype=np.uint8), format="rgb24")
    picture = _write(tall, height=16, width=32, stored_hw=(16, 32))
    white = (picture > 200).all(axis=2)
    assert white.sum() == 16 * 8
    assert white[:, 12:20].all()


def test_what_the_clean_aperture_excludes_is_cut_off_before_the_turn():
    stored = np.zeros((16, 32, 3), dtype=np.uint8)
    stored[4:12, 8:24] = 255
    stored[4:6, 8:10] = (255, 0, 0)
    frame = VideoFrame.from_ndarray(stored, format="rgb24")
    geometry = Geometry(crop=(8, 4, 8, 4), rotation=90)
    picture = _write(frame, height=16, width=8, geometry=geometry, stored_hw=(16, 32))
    assert picture.min(axis=2).mean() > 230
    assert picture[-1, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("matrix", [8, 11, 14, 15])
def test_colours_that_nothing_converts_are_refused_by_name(matrix):
    with pytest.raises(PermanentError, match=f"number {matrix} of ITU-T H.273") as caught:
        _write(_yuv(81, 90, 240, colorspace=matrix))
    assert caught.value.reason == "unsupported_colours"


def test_a_reserved_matrix_counts_as_not_specified():
    assert np.array_equal(_write(_yuv(81, 90, 240, colorspace=3)), _write(_yuv(81, 90, 240, colorspace=2)))
