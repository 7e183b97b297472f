"""How many helpers are worth their start: a helper should have more to do than to start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

_PROCESS_S = 15.0
"""Until a worker takes a run, and its process has imported this program."""
_STARTS = ("import_libraries", "check_model", "load_model")


@dataclass(frozen=True, slots=True, kw_only=True)
class HelperCosts:
    """Measured costs. None: nothing was measured.

    Args:
        video_s: seconds of one device for a video. start_s: until a helper works on its first one.
    """

    video_s: float | None
    start_s: float

    @classmethod
    def of(cls, timings: Mapping[str, float], *, videos: int) -> Self:
        """The costs of a run with these seconds by stage, in which this many videos ended."""
        start_s = sum(timings.get(name, 0.0) for name in _STARTS)
        work_s = timings.get("total", 0.0) - timings.get("lease", 0.0) - start_s
        return cls(video_s=work_s / videos if videos and work_s > 0 else None, start_s=start_s + _PROCESS_S)


def helpers_worth(pending: int, costs: HelperCosts) -> int:
    """How many helpers shorten the work on this many videos.

    With n helpers, each device gets an equal part of the seconds. The last helper is worth its start as long as its
    part is longer.

    >>> helpers_worth(100, HelperCosts(video_s=2.0, start_s=20.0))
    9
    """
    if costs.video_s is None:
        return 0
    return max(0, int(pending * costs.video_s / costs.start_s) - 1)
