"""Segments and timestamps: the docstrings have worked examples, these tests check general properties."""

import doctest
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightreel.domain import SamplingPlan, Segment
from nightreel.errors import PermanentError
from nightreel.media import sampling

durations = st.floats(0, 50_000)
windows = st.floats(1, 3600)
plans = st.one_of(
    st.integers(1, 1024).map(lambda n: SamplingPlan.parse(f"uniform:{n}")),
    st.integers(1, 1024).map(lambda n: SamplingPlan.parse(f"keyframes:{n}")),
    st.tuples(st.floats(0.01, 60), st.integers(1, 1024)).map(lambda p: SamplingPlan.parse(f"fps:{p[0]}:{p[1]}")),
)


def test_examples_in_docstrings_are_correct():
    results = doctest.testmod(sampling)
    assert results.attempted >= 11
    assert results.failed == 0


@given(durations, windows)
def test_segments_cover_the_video_without_gaps_or_overlaps(duration_s, window_s):
    cut = sampling.segments(duration_s, window_s)
    assert cut[0].start_s == 0
    assert cut[-1].end_s == duration_s
    assert all(before.end_s == after.start_s for before, after in pairwise(cut))
    assert [segment.index for segment in cut] == list(range(len(cut)))


@given(durations, windows)
def test_only_the_last_segment_differs_from_the_window_by_at_most_a_third_more(duration_s, window_s):
    cut = sampling.segments(duration_s, window_s)
    assert all(math.isclose(segment.duration_s, window_s, abs_tol=1e-6) for segment in cut[:-1])
    assert cut[-1].duration_s <= window_s * 4 / 3 + 1e-6
    if len(cut) > 1:
        assert cut[-1].duration_s >= window_s / 3 - 1e-6


@pytest.mark.parametrize("duration_s", [-1.0, math.inf, math.nan])
def test_an_invalid_duration_is_refused(duration_s):
    with pytest.raises(PermanentError) as caught:
        sampling.segments(duration_s, 30)
    assert caught.value.reason == "no_duration"


@given(plans, durations, st.floats(0, 3600), st.lists(st.floats(0, 50_000), max_size=50, unique=True))
def test_timestamps_ascend_inside_the_segment_and_are_no_more_than_planned(plan, start_s, length_s, keyframes_s):
    segment = Segment(0, start_s, start_s + length_s)
    moments = sampling.timestamps(plan, segment, keyframes_s=sorted(keyframes_s))
    assert 1 <= len(moments) <= plan.frames
    assert moments == sorted(set(moments))
    assert moments[0] >= segment.start_s
    assert moments[-1] < segment.end_s or segment.duration_s < 1e-9


@given(st.floats(0.5, 10), st.integers(1, 64), st.floats(0.1, 30))
def test_an_fps_plan_ticks_evenly_until_its_cap_and_then_spreads_the_cap(rate, cap, length_s):
    moments = sampling.timestamps(SamplingPlan.parse(f"fps:{rate}:{cap}"), Segment(0, 0.0, length_s))
    gaps = [after - before for before, after in pairwise(moments)]
    expected = 1 / rate if length_s * rate <= cap else length_s / cap
    assert all(math.isclose(gap, expected, rel_tol=1e-3) for gap in gaps)
