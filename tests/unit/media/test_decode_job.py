"""Decode jobs: the fewest packets that give the wanted frames exactly."""

import doctest
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightreel.media import decode_job
from nightreel.media.decode_job import Run, decode_runs, fit, frames_on_show
from nightreel.media.packets import DISCARD, HIDDEN, KEY, NO_PTS, SECOND_FIELD, PacketIndex


def _index(*packets, ordinal=False, last_duration=1):
    """Packets in decoding order: pts, and letters: K decoding can start, d outside the edit list, h never shown, 2 a
    second field."""
    flags = {"K": KEY, "d": DISCARD, "h": HIDDEN, "2": SECOND_FIELD}
    pts = np.array([pts for pts, _ in packets], dtype=np.int64)
    bits = np.array([sum(flags[letter] for letter in letters) for _, letters in packets], dtype=np.uint16)
    sizes = np.full(len(pts), 9, dtype=np.int32)
    return PacketIndex(pts, np.arange(len(pts)), pts, sizes, bits, last_duration, ordinal)


def test_examples_in_docstrings_are_correct():
    results = doctest.testmod(decode_job)
    assert (results.attempted, results.failed) == (3, 0)


def test_a_frame_is_decoded_from_the_nearest_start_before_it():
    index = _index((0, "K"), (1, ""), (2, "K"), (3, ""), (4, "K"), (5, ""))
    assert decode_runs(index, np.array([3])) == [Run(2, 3, 2, 2)]


def test_frames_of_one_group_share_a_run_and_distant_ones_do_not():
    index = _index((0, "K"), (1, ""), (2, "K"), (3, ""), (4, "K"), (5, ""))
    assert decode_runs(index, np.array([0, 1, 5])) == [Run(0, 1, NO_PTS, 0), Run(4, 5, 4, 4)]


def test_a_leading_picture_of_an_open_group_is_decoded_from_the_group_before():
    index = _index((0, "K"), (1, ""), (4, "K"), (2, ""), (3, ""), (5, ""))
    assert decode_runs(index, np.array([4])) == [Run(0, 4, NO_PTS, 0)]
    assert decode_runs(index, np.array([5])) == [Run(2, 5, 4, 4)]


def test_a_leading_picture_wanted_beside_its_own_start_moves_the_run_back():
    index = _index((0, "K"), (1, ""), (4, "K"), (2, ""), (3, ""), (5, ""))
    assert decode_runs(index, np.array([2, 3])) == [Run(0, 3, NO_PTS, 0)]


def test_without_a_start_before_it_a_frame_is_decoded_from_the_first_packet():
    index = _index((0, ""), (1, ""), (2, "K"))
    assert decode_runs(index, np.array([1])) == [Run(0, 1, NO_PTS, 0)]


def test_frames_hidden_by_an_edit_list_or_never_shown_are_on_no_timeline():
    index = _index((10, "Kd"), (12, "d"), (15, "h"), (15, ""), (14, ""), last_duration=2)
    assert index.timeline.tolist() == [14, 15]
    assert index.positions.tolist() == [4, 3]
    assert (index.start, index.end) == (14, 17)


def test_a_run_that_ends_with_a_first_field_goes_on_to_the_second():
    index = _index((0, "K"), (1, "2"), (4, ""), (5, "2"), (2, ""), (3, "2"))
    assert index.timeline.tolist() == [0, 2, 4]
    assert decode_runs(index, np.array([4])) == [Run(0, 5, NO_PTS, 0)]
    assert index.owners.tolist() == [0, 0, 2, 2, 4, 4]


def test_a_packet_index_survives_serialisation():
    index = _index((0, "K"), (2, ""), (1, "h"))
    copy = PacketIndex.from_bytes(index.to_bytes(), last_duration=1, ordinal=False)
    for name in ("pts", "dts", "ticks", "size", "flags"):
        assert np.array_equal(getattr(copy, name), getattr(index, name))
    with pytest.raises(ValueError, match="not a packet index: 20 bytes, expected a multiple of 30"):
        PacketIndex.from_bytes(b"\0" * 20, last_duration=1, ordinal=False)


groups = st.lists(st.integers(1, 8), min_size=1, max_size=8)


@given(groups, st.data())
def test_runs_hold_every_wanted_frame_start_clean_and_do_not_overlap(lengths, data):
    packets = [(0, "K" if place == 0 else "") for length in lengths for place in range(length)]
    index = _index(*((number, letters) for number, (_, letters) in enumerate(packets)))
    wanted = data.draw(st.lists(st.integers(0, len(packets) - 1), min_size=1, unique=True))
    runs = decode_runs(index, np.array(wanted))
    assert all(index.flags[run.first] & KEY for run in runs)
    assert all(any(run.first <= frame <= run.last for run in runs) for frame in wanted)
    assert all(before.last < after.first for before, after in pairwise(runs))
    assert {run.last for run in runs} <= set(wanted)  # no run decodes beyond its last wanted frame


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=50), st.floats(0, 100))
def test_the_frame_on_show_is_the_last_one_that_started(intervals, moment):
    times = np.concatenate([[0.0], np.cumsum(intervals)])
    (found,) = frames_on_show(times, [moment])
    assert times[found] <= moment + 1e-6
    assert found == len(times) - 1 or times[found + 1] > moment


@given(st.integers(1, 9000), st.integers(1, 9000), st.integers(1, 2000))
def test_pictures_shrink_in_their_aspect_and_never_grow(width, height, short_side):
    fitted = fit(width, height, short_side=short_side)
    assert fitted[0] <= width
    assert fitted[1] <= height
    assert min(fitted) == min(width, height, short_side)
    assert fit(width, height, short_side=None) == (width, height)
