"""How many seconds of a segment its sampled frames cover. A pure function; it opens no file.

`DecoderPool.decode` calls it. A frame stands for the time from halfway to the frame before it to halfway to the frame
after it; the first and the last frame stand for the time up to the ends of the segment. A segment is covered where a
good frame stands for it and packets could be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from nightreel.domain import Segment


def covered_s(
    segment: Segment, *, shown_s: Sequence[float], good: Sequence[bool], lost: Iterable[tuple[float, float]] = ()
) -> float:
    """Seconds of `segment` that its good frames cover: 0 to `segment.duration_s`.

    Args:
        shown_s: when each sampled frame is shown, ascending. For a frame that could not be decoded: when it would be.
        good: for each frame, whether it has no flag.
        lost: spans of the timeline in which no packet could be read.

    One bad frame of four, then two seconds without packets, half of which the bad frame already stands for:
    >>> segment = Segment(0, 0.0, 8.0)
    >>> covered_s(segment, shown_s=[1, 3, 5, 7], good=[True, False, True, True])
    6.0
    >>> covered_s(segment, shown_s=[1, 3, 5, 7], good=[True, False, True, True], lost=[(3, 5)])
    5.0
    """
    edges = [segment.start_s, *((before + after) / 2 for before, after in pairwise(shown_s)), segment.end_s]
    bad = [span for span, is_good in zip(pairwise(edges), good, strict=True) if not is_good]
    uncovered_s, reached = 0.0, segment.start_s
    for start_s, end_s in sorted([*bad, *lost]):
        start_s, end_s = max(start_s, reached), min(end_s, segment.end_s)
        if end_s > start_s:
            uncovered_s += end_s - start_s
            reached = end_s
    return max(0.0, segment.duration_s - uncovered_s)
