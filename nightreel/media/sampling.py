"""Choose the sampled moments of a video: segments, and timestamps in a segment. Pure functions; they open no file.

Called by the encode stage (segments) and by the decoder pool (timestamps). All times are seconds after the first shown
frame. Moments are timestamps, not frame numbers: a timestamp means the same at every frame rate, including variable
ones. The decoder returns the frame shown at each moment; several moments inside one frame give that frame once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from nightreel.domain import PlanKind, SamplingPlan, Segment
from nightreel.errors import PermanentError
from nightreel.reasons import Reason

_SHORTEST_LAST_WINDOW = 1 / 3  # of a window; a shorter rest is merged into the window before it
_TOLERANCE_S = 1e-9


def segments(duration_s: float | None, window_s: float, *, expected_s: float | None = None) -> list[Segment]:
    """Cut a video into windows of `window_s`. A last window shorter than a third of that joins the window before it.

    Args:
        duration_s: None if neither the file nor its packets give it: the result is one window.
        window_s: length of a window in seconds.
        expected_s: seconds that the file should hold, if it ends too early.

    Returns:
        At least one segment; they are contiguous, start at 0 and end at `duration_s`. If the file ends too early, the
        last one promises what its window would hold in the whole file.

    Raises:
        PermanentError: `no_duration` when the duration is negative or not finite.

    >>> [(s.start_s, s.end_s) for s in segments(75, 30)]      # the rest, 15 s, stands alone
    [(0.0, 30.0), (30.0, 60.0), (60.0, 75.0)]
    >>> [(s.start_s, s.end_s) for s in segments(65, 30)]      # the rest, 5 s, is less than 10 s: merged
    [(0.0, 30.0), (30.0, 65.0)]
    >>> [(s.start_s, s.end_s) for s in segments(4.2, 30)]     # a short video is one segment
    [(0.0, 4.2)]
    >>> [(s.start_s, s.end_s) for s in segments(0.04, 30)]    # one frame
    [(0.0, 0.04)]
    >>> [(s.start_s, s.end_s) for s in segments(None, 30)]    # unknown
    [(0.0, 30.0)]
    >>> [s.expected_s for s in segments(40, 30, expected_s=120)]  # cut off 10 s after the start of a window of 30 s
    [30.0, 30.0]
    """
    if duration_s is None:
        return [Segment(0, 0.0, float(window_s))]
    if not 0 <= duration_s < float("inf"):
        raise PermanentError(
            Reason.NO_DURATION, f"cannot cut a duration of {duration_s} s: expected a finite number, 0 or more"
        )
    windows = _windows(duration_s, window_s)
    edges = [float(i * window_s) for i in range(windows)] + [float(duration_s)]
    cut = [Segment(i, start, end) for i, (start, end) in enumerate(pairwise(edges))]
    if expected_s is not None and duration_s < expected_s < float("inf"):
        whole_end_s = expected_s if windows == _windows(expected_s, window_s) else windows * window_s
        if whole_end_s > duration_s:
            cut[-1] = replace(cut[-1], promised_s=whole_end_s - cut[-1].start_s)
    return cut


def windows(segment: Segment, window_s: float) -> list[Segment]:
    """Cut a segment into windows for a second look, as `segments` cuts a video.

    Returns:
        At least one window; they are contiguous and cover the segment. Their indexes count within the segment.

    >>> [(w.index, w.start_s, w.end_s) for w in windows(Segment(3, 90.0, 101.0), 5)]
    [(0, 90.0, 95.0), (1, 95.0, 101.0)]
    """
    return [
        Segment(
            window.index,
            segment.start_s + window.start_s,
            min(segment.start_s + window.end_s, segment.end_s),
            window.promised_s,
        )
        for window in segments(segment.duration_s, window_s, expected_s=segment.promised_s)
    ]


def _windows(duration_s: float, window_s: float) -> int:
    whole, rest = divmod(duration_s, window_s)
    return max(1, int(whole) + (rest >= window_s * _SHORTEST_LAST_WINDOW))


def timestamps(plan: SamplingPlan, segment: Segment, *, keyframes_s: Sequence[float] = ()) -> list[float]:
    """The moments of `segment` that `plan` samples: ascending, distinct, 1 to `plan.frames`.

    Args:
        keyframes_s: times of the stream's keyframes, ascending; only plan `keyframes` needs them.

    Returns:
        Times in `[segment.start_s, segment.end_s)`; for a segment of length 0, only `start_s`.

    uniform: the middles of n equal parts, so both ends weigh the same.
    >>> timestamps(SamplingPlan.parse("uniform:4"), Segment(0, 0.0, 8.0))
    [1.0, 3.0, 5.0, 7.0]

    fps: a tick at the start and every 1/rate after it; if there are more ticks than the cap: uniform(cap).
    >>> timestamps(SamplingPlan.parse("fps:2:32"), Segment(1, 30.0, 31.7))
    [30.0, 30.5, 31.0, 31.5]
    >>> timestamps(SamplingPlan.parse("fps:2:3"), Segment(0, 0.0, 30.0))
    [5.0, 15.0, 25.0]

    keyframes: those inside the segment, thinned evenly to the cap; if there are none, the segment's middle.
    >>> timestamps(SamplingPlan.parse("keyframes:2"), Segment(0, 0.0, 8.0), keyframes_s=[0.0, 2.0, 4.0, 6.0, 8.0])
    [0.0, 4.0]
    >>> timestamps(SamplingPlan.parse("keyframes:2"), Segment(1, 8.0, 12.0), keyframes_s=[0.0, 5.0])
    [10.0]

    One frame of 0.04 s under uniform(8): eight moments, all inside it; the decoder returns it once.
    >>> len(timestamps(SamplingPlan.parse("uniform:8"), Segment(0, 0.0, 0.04)))
    8
    """
    start, length = segment.start_s, segment.duration_s
    if length <= 0:
        return [start]
    if plan.kind is PlanKind.KEYFRAMES:
        inside = list(keyframes_s[bisect_left(keyframes_s, start) : bisect_left(keyframes_s, segment.end_s)])
        return _thin(inside, plan.frames) or [start + length / 2]
    if plan.kind is PlanKind.FPS:
        assert plan.rate is not None
        ticks = _ticks(length, plan.rate, cap=plan.frames)
        if ticks is not None:
            return _distinct(start + tick for tick in ticks)
    return _distinct(start + length * (2 * i + 1) / (2 * plan.frames) for i in range(plan.frames))


def _ticks(length: float, rate: float, *, cap: int) -> list[float] | None:
    """0, 1/rate, 2/rate ... before `length`; None if there are more than `cap`."""
    if length * rate > cap + _TOLERANCE_S:
        return None
    return [i / rate for i in range(cap) if i / rate < length - _TOLERANCE_S] or [0.0]


def _thin(moments: list[float], count: int) -> list[float]:
    if len(moments) <= count:
        return moments
    return [moments[i * len(moments) // count] for i in range(count)]


def _distinct(moments: Iterable[float]) -> list[float]:
    """Remove repeats. They occur only where a segment is shorter than the clock's resolution."""
    return list(dict.fromkeys(moments))
