"""Which parts of a video its preview has."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from nightreel.console.previews import MOST_S, preview_ranges

SEGMENT = (0.0, 30.0)
SECONDS = st.floats(0, 200).map(lambda value: round(value, 3))


def ranges(*flagged, segment=SEGMENT, at_s=None, duration_s=300.0):
    return preview_ranges(flagged, segment=segment, at_s=at_s, duration_s=duration_s)


def test_flags_get_two_seconds_around_them_within_the_video():
    assert ranges((40.0, 45.0)) == ((38.0, 47.0),)
    assert ranges((1.0, 4.0)) == ((0.0, 6.0),)
    assert ranges((290.0, 300.0)) == ((288.0, 300.0),)


def test_flags_that_touch_are_one_part():
    assert ranges((10.0, 12.0), (15.0, 16.0)) == ((8.0, 18.0),)
    assert ranges((10.0, 30.0), (12.0, 14.0)) == ((8.0, 32.0),), "one within the other"
    assert ranges((60.0, 61.0), (10.0, 12.0)) == ((8.0, 14.0), (58.0, 63.0)), "in the order of time"


def test_the_first_seconds_of_many_flags_are_shown():
    assert ranges((10.0, 40.0), (100.0, 150.0), (200.0, 210.0)) == ((8.0, 42.0), (98.0, 124.0))
    assert ranges((0.0, 300.0)) == ((0.0, MOST_S),)


def test_without_flags_it_is_the_segment_on_show():
    assert ranges() == ((0.0, MOST_S),)
    assert ranges(duration_s=12.0, segment=(0.0, 12.0)) == ((0.0, 12.0),)
    assert ranges(segment=(90.0, 120.0), at_s=95.0) == ((90.0, 150.0),)


def test_a_moment_without_a_flag_has_a_preview_of_its_own():
    assert ranges((40.0, 45.0), at_s=41.0) == ((38.0, 47.0),)
    assert ranges((40.0, 45.0), at_s=0.0) == ((0.0, MOST_S),)
    assert ranges((40.0, 45.0), segment=(90.0, 120.0), at_s=95.0) == ((90.0, 150.0),)


def test_moments_of_a_long_segment_share_previews():
    of_a_film = {ranges(segment=(0.0, 300.0), at_s=float(at_s)) for at_s in range(300)}
    assert sorted(of_a_film) == [((start, start + MOST_S),) for start in (0.0, 60.0, 120.0, 180.0, 240.0)]


@given(
    st.lists(st.tuples(SECONDS, SECONDS).filter(lambda one: one[0] < one[1]), max_size=8),
    st.none() | SECONDS,
    st.floats(1, 250),
)
def test_parts_are_in_order_apart_short_and_have_the_moment_on_show(flagged, at_s, duration_s):
    found = ranges(*flagged, segment=(0.0, duration_s), at_s=at_s, duration_s=duration_s)
    assert found
    assert sum(end - start for start, end in found) <= MOST_S + 1e-6
    assert all(0 <= start < end <= duration_s for start, end in found)
    assert all(before[1] < after[0] for before, after in pairwise(found))
    if at_s is not None and at_s < duration_s:
        assert any(start <= at_s < end for start, end in found)
