"""From a stored picture to an upright one: all eight orientations, and what is cut off."""

import struct

import numpy as np
import pytest

from nightreel.media.geometry import Geometry, crop_in_dump, fitting_crop, orientation_of

_UNIT = 65_536


def _matrix(a: int, b: int, c: int, d: int) -> bytes:
    return struct.pack("<9i", a * _UNIT, b * _UNIT, 0, c * _UNIT, d * _UNIT, 0, 0, 0, 2**30)


@pytest.mark.parametrize(
    "abcd", [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, -1, 0),
             (0, -1, -1, 0)],
)  # fmt: skip
def test_each_pixel_goes_where_the_display_matrix_sends_it(abcd):
    a, b, c, d = abcd
    stored = np.arange(6).reshape(2, 3, 1)
    rotation, mirrored = orientation_of(_matrix(*abcd))
    upright = Geometry((0, 0, 0, 0), rotation, mirrored).apply_turn(stored)
    places = {(a * x + c * y, b * x + d * y): stored[y, x, 0] for y in range(2) for x in range(3)}
    left, top = min(x for x, _ in places), min(y for _, y in places)
    expected = np.zeros(upright.shape[:2], int)
    for (x, y), value in places.items():
        expected[y - top, x - left] = value
    assert upright[:, :, 0].tolist() == expected.tolist()


@pytest.mark.parametrize("matrix", [b"", b"\0" * 35, b"\0" * 36, _matrix(1, 1, 1, 1)])
def test_an_invalid_matrix_turns_nothing(matrix):
    assert orientation_of(matrix) == (0, False)


def test_the_crop_of_a_stream_is_read_and_metadata_cannot_forge_it():
    dump = (
        "Input #0, matroska,webm, from '':\n  Metadata:\n    Frame Cropping  : 9/9/9/9\n"
        "  Stream #0:0: Video: h264\n    Metadata:\n      title           : x\n"
        "                      : Frame Cropping: 7/7/7/7\n"
        "    Side data:\n      Frame Cropping: 160/0/120/0\n"
        "  Stream #0:1: Video: h264\n    Side data:\n      Frame Cropping: 1/2/3/4\n"
    )
    assert crop_in_dump(dump, 0) == (160, 120, 0, 0)
    assert crop_in_dump(dump, 1) == (1, 3, 2, 4)
    assert crop_in_dump(dump, 2) == (0, 0, 0, 0)


def test_a_crop_that_leaves_nothing_is_ignored():
    assert fitting_crop((160, 0, 159, 0), 320, 240) == (160, 0, 159, 0)
    assert fitting_crop((160, 0, 160, 0), 320, 240) == (0, 0, 0, 0)
