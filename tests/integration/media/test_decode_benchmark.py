"""The sides of the decode benchmark run. The benchmark itself checks that their frames are right."""

from __future__ import annotations

import pytest
from benchmarks import decode_sides
from fixtures.clips import encode_numbers


@pytest.mark.parametrize("side", [decode_sides.plain_decord, decode_sides.pyav_sequential])
def test_our_side_returns_as_many_frames_as_the_others(side, tmp_path):
    clip = tmp_path / "clip.mp4"
    encode_numbers(clip, range(30), fps=str(decode_sides.FPS))
    wanted = [3, 10, 20]
    assert len(decode_sides.ours(str(clip), wanted, None)) == len(side(str(clip), wanted)) == 3
