"""The seconds of a segment that its sampled frames cover."""

from __future__ import annotations

import random

import numpy as np
import pytest

from nightreel.domain import MIN_COVERAGE, SamplingPlan, Segment, too_little
from nightreel.media.coverage import covered_s
from nightreel.media.decode_job import frames_on_show
from nightreel.media.sampling import segments, timestamps

EIGHT = SamplingPlan.parse("uniform:8")
WINDOW = Segment(1, 30.0, 60.0)


def sampled(segment: Segment, plan: SamplingPlan, *, fps: float) -> list[float]:
    """When the frames are shown that a plan samples from a segment of a video with a constant rate."""
    times_s = np.arange(0, segment.end_s - 1e-9, 1 / fps)
    return times_s[np.unique(frames_on_show(times_s, timestamps(plan, segment)))].tolist()


@pytest.mark.parametrize("fps", [5, 12.5, 23.976, 25, 29.97, 60])
@pytest.mark.parametrize("segment", [WINDOW, Segment(0, 0.0, 30.0), Segment(0, 0.0, 6.2), Segment(2, 60.0, 73.3)])
def test_one_bad_frame_of_eight_leaves_enough_for_a_no_and_two_neighbours_do_not(segment, fps):
    shown_s = sampled(segment, EIGHT, fps=fps)
    for bad in range(8):
        one = covered_s(segment, shown_s=shown_s, good=[number != bad for number in range(8)])
        assert not too_little(one, segment.expected_s, MIN_COVERAGE)
    for bad in range(7):
        two = covered_s(segment, shown_s=shown_s, good=[number not in (bad, bad + 1) for number in range(8)])
        assert too_little(two, segment.expected_s, MIN_COVERAGE)


def test_a_segment_without_bad_frames_and_losses_is_covered_completely():
    segment = Segment(3, 90.1, 120.3)
    assert covered_s(segment, shown_s=[95.0, 100.0], good=[True, True]) == segment.duration_s


def test_a_segment_without_good_frames_is_not_covered():
    assert covered_s(WINDOW, shown_s=[29.97, 40.0], good=[False, False]) == 0


@pytest.mark.parametrize(
    ("lost", "covered"),
    [
        ([(0.0, 30.0)], 30.0),
        ([(20.0, 35.0)], 25.0),
        ([(55.0, 90.0)], 25.0),
        ([(0.0, 90.0)], 0.0),
        ([(31.0, 33.0), (32.0, 34.0)], 27.0),
        ([(40.0, 40.0)], 30.0),
    ],
)
def test_lost_packets_uncover_their_span_inside_the_segment(lost, covered):
    assert covered_s(WINDOW, shown_s=[45.0], good=[True], lost=lost) == covered


def test_more_damage_never_covers_more():
    draw = random.Random(7)
    for _ in range(300):
        shown_s = sorted(draw.uniform(30, 60) for _ in range(draw.randint(1, 12)))
        good = [draw.random() < 0.7 for _ in shown_s]
        lost = [(start_s := draw.uniform(20, 70), start_s + draw.uniform(0, 9)) for _ in range(draw.randint(0, 3))]
        seen = covered_s(WINDOW, shown_s=shown_s, good=good, lost=lost)
        assert 0 <= seen <= 30
        worse = list(good)
        worse[draw.randrange(len(worse))] = False
        assert covered_s(WINDOW, shown_s=shown_s, good=worse, lost=lost) <= seen
        assert covered_s(WINDOW, shown_s=shown_s, good=good, lost=[*lost, (40.0, 42.0)]) <= seen


@pytest.mark.parametrize(
    ("duration_s", "expected_s", "promised"),
    [
        (6.2, 6.2, [None]),
        (1.2, 6.2, [6.2]),
        (1.2, 120.0, [30.0]),
        (40.0, 120.0, [None, 30.0]),
        (60.0, 120.0, [None, None]),
        (35.0, 120.0, [None]),  # the rest of 5 s belongs to the first window, which is complete
        (35.0, 38.0, [38.0]),
        (35.0, 1e12, [None]),
        (10.0, None, [None]),
        (10.0, float("inf"), [None]),
    ],
)
def test_the_last_segment_of_a_file_that_ends_too_early_promises_its_window(duration_s, expected_s, promised):
    cut = segments(duration_s, 30, expected_s=expected_s)
    assert [segment.promised_s for segment in cut] == [None if one is None else pytest.approx(one) for one in promised]
    assert cut[-1].end_s == duration_s, "only what can be read is sampled"
    assert [(one.start_s, one.end_s) for one in cut] == [(one.start_s, one.end_s) for one in segments(duration_s, 30)]
