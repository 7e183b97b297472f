"""The facts of a run that `domain.verdicts` judges, counted from the videos that ended, and the failures to show.

`RunSummary` has one. It decides nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from nightreel.domain import EndedVideo, VideoEnd
from nightreel.domain.verdicts import INTERNAL, Failure, RunFacts

MOST_SHOWN = 100
"""Failures that a run keeps for its artifact; all of them are in Postgres."""
_SUCCEEDED = (VideoEnd.DONE, VideoEnd.REUSED, VideoEnd.PARTLY_DONE)
_FAILED = (VideoEnd.FAILED, VideoEnd.QUARANTINED)


@dataclass
class Tally:
    """Counts of the videos that ended in a run.

    Args:
        failures: the first `MOST_SHOWN` videos that failed.
    """

    failures: list[EndedVideo] = field(default_factory=list)
    _new: Counter[bool] = field(default_factory=Counter)  # by success
    _succeeded: int = 0
    _internal: Counter[Failure] = field(default_factory=Counter)
    _tried_here: set[int] = field(default_factory=set)  # new videos that failed in this run and wait for a retry

    def add(self, ended: Iterable[EndedVideo]) -> None:
        for video in ended:
            new = not video.failed_before or video.analysis_id in self._tried_here
            if video.end is VideoEnd.RETRIED and new:
                self._tried_here.add(video.analysis_id)
            elif video.end in _SUCCEEDED or video.end in _FAILED:
                self._tried_here.discard(video.analysis_id)
                self._end(video, new=new)

    def facts(self, *, make_room: str | None = None, quarantined: int = 0, server_silent_s: float = 0.0) -> RunFacts:
        return RunFacts(
            new_succeeded=self._new[True],
            new_failed=self._new[False],
            succeeded=self._succeeded,
            internal_failures=dict(self._internal),
            make_room=make_room,
            quarantined=quarantined,
            server_silent_s=server_silent_s,
        )

    def _end(self, video: EndedVideo, *, new: bool) -> None:
        succeeded = video.end in _SUCCEEDED
        self._succeeded += succeeded
        self._new[succeeded] += new
        if succeeded:
            return
        if video.reason in INTERNAL:
            self._internal[Failure.of(video.reason, video.detail)] += 1
        if len(self.failures) < MOST_SHOWN:
            self.failures.append(video)
