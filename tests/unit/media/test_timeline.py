"""One continuous clock: it goes on where the file's clock restarts, falls back or jumps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightreel.media.packets import NO_PTS
from nightreel.media.timeline import ClockBreak, continuous_ticks, even_ticks, last_duration

_RATE = 90_000
_INTERVAL = 3600


def _clock(*stretches: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Times of stretches of (first tick, number of frames), and where each begins."""
    times = np.concatenate([first + _INTERVAL * np.arange(count) for first, count in stretches])
    starts = np.zeros(len(times), dtype=bool)
    starts[np.cumsum([0, *(count for _, count in stretches[:-1])])] = True
    return times, starts


def _ticks(*stretches: tuple[int, int], may_jump: bool = True) -> tuple[list[int], tuple[ClockBreak, ...]]:
    times, starts = _clock(*stretches)
    ticks, breaks = continuous_ticks(
        times, times, starts, np.ones(len(times), bool), ticks_per_s=_RATE, may_jump=may_jump
    )
    return ticks.tolist(), breaks


def test_a_clock_without_a_break_stays_as_it_is():
    times, _ = _clock((1000, 50))
    assert _ticks((1000, 50)) == (times.tolist(), ())


@pytest.mark.parametrize("second", [0, -5 * _RATE, 3 * _INTERVAL, -26 * 3600 * _RATE, 20 * 3600 * _RATE])
def test_frames_go_on_at_the_usual_interval_where_the_clock_restarts_falls_back_or_jumps(second):
    ticks, breaks = _ticks((0, 10), (second, 10))
    assert ticks == (np.arange(20) * _INTERVAL).tolist()
    assert breaks == (ClockBreak(10, 10 * _INTERVAL, second - 10 * _INTERVAL),)


def test_each_of_several_breaks_is_closed():
    ticks, breaks = _ticks((0, 10), (0, 10), (90 * _RATE, 5), (0, 10))
    assert ticks == (np.arange(35) * _INTERVAL).tolist()
    assert [joint.position for joint in breaks] == [10, 20, 25]


def test_a_gap_of_seconds_is_shown_and_not_closed():
    ticks, breaks = _ticks((0, 10), (5 * _RATE, 10))
    assert ticks[10] == 5 * _RATE
    assert breaks == ()


def test_a_long_step_is_a_long_frame_where_the_container_has_durations():
    ticks, breaks = _ticks((0, 10), (60 * _RATE, 10), may_jump=False)
    assert ticks[10] == 60 * _RATE
    assert breaks == ()


def test_slides_that_are_all_long_are_no_breaks():
    times = np.arange(10) * 20 * _RATE
    ticks, breaks = continuous_ticks(
        times, times, np.ones(10, bool), np.ones(10, bool), ticks_per_s=_RATE, may_jump=True
    )
    assert ticks.tolist() == times.tolist()
    assert breaks == ()


def test_reordered_pictures_keep_their_order_across_a_break():
    pts = np.array([0, 3, 1, 2, 6, 4, 5, 0, 3, 1, 2]) * _INTERVAL
    dts = np.array([-1, 0, 1, 2, 3, 4, 5, -1, 0, 1, 2]) * _INTERVAL
    starts = np.array([1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], dtype=bool)
    ticks, breaks = continuous_ticks(pts, dts, starts, np.ones(11, bool), ticks_per_s=_RATE, may_jump=True)
    assert ticks.tolist() == (np.array([0, 3, 1, 2, 6, 4, 5, 7, 10, 8, 9]) * _INTERVAL).tolist()
    assert len(breaks) == 1


def test_packets_that_show_nothing_take_no_time_at_a_break():
    times, starts = _clock((0, 10), (0, 12))
    shown = np.ones(22, dtype=bool)
    shown[[9, 10, 11]] = False  # as the repeated headers of a joined Ogg file
    ticks, _ = continuous_ticks(times, times, starts, shown, ticks_per_s=_RATE, may_jump=False)
    assert ticks[shown].tolist() == (np.arange(19) * _INTERVAL).tolist()


@given(st.lists(st.tuples(st.integers(-(2**40), 2**40), st.integers(2, 20)), min_size=1, max_size=8))
def test_whatever_the_clock_does_frames_ascend_in_decoding_order(stretches):
    ticks, _ = _ticks(*stretches)
    assert all(np.diff(ticks) > 0)


def test_a_clock_with_wrong_guesses_of_the_demuxer_is_evened_out():
    times = np.arange(100) * _INTERVAL
    times[50] = times[49]
    assert even_ticks(times, interval=1).tolist() == (np.arange(100) * _INTERVAL).tolist()


def test_without_any_clock_frames_follow_at_the_frame_rate():
    assert even_ticks(np.full(4, NO_PTS), interval=40).tolist() == [0, 40, 80, 120]


def test_an_absurd_duration_of_the_last_frame_is_replaced_by_the_usual_interval():
    assert last_duration(7_200 * _RATE, interval=_INTERVAL, ticks_per_s=_RATE) == _INTERVAL
    assert last_duration(2 * _RATE, interval=_INTERVAL, ticks_per_s=_RATE) == 2 * _RATE
    assert last_duration(0, interval=_INTERVAL, ticks_per_s=_RATE) == _INTERVAL
