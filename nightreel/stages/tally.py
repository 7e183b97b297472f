"""The facts of a run that `domain.run_health` reads, counted from the videos that ended, and the failures to show.

`RunSummary` has one. It decides nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from nightreel.domain import EndedVideo, VideoEnd
from nightreel.domain.run_health import INTERNAL, Failure, RunFacts

MOST_SHOWN = 100
"""Failures that a run keeps for its artifact; all of them are in Postgres."""
SUCCEEDED = (VideoEnd.DONE, VideoEnd.REUSED, VideoEnd.PARTLY_DONE)
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
    _given_back: dict[int, EndedVideo] = field(default_factory=dict)  # videos that this host could not work on
    _in_a_row: int = 0

    def add(self, ended: Iterable[EndedVideo]) -> None:
        for video in ended:
            if video.end is VideoEnd.GIVEN_BACK:
                self._given_back[video.analysis_id] = video
                self._in_a_row += 1
                continue
            self._given_back.pop(video.analysis_id, None)
            self._in_a_row = 0
            new = not video.failed_before or video.analysis_id in self._tried_here
            if video.end is VideoEnd.RETRIED and new:
                self._tried_here.add(video.analysis_id)
            elif video.end in SUCCEEDED or video.end in _FAILED:
                self._tried_here.discard(video.analysis_id)
                self._end(video, new=new)

    def add_run(self, *, new_succeeded: int, new_failed: int, succeeded: int) -> None:
        """Add the videos that ended in another run."""
        self._new[True] += new_succeeded
        self._new[False] += new_failed
        self._succeeded += succeeded

    def show(self, failures: Iterable[EndedVideo]) -> None:
        """Add failures of other runs to those that are shown."""
        self.failures += list(failures)[: MOST_SHOWN - len(self.failures)]

    def facts(self, *, make_room: str | None = None, quarantined: int = 0, server_silent_s: float = 0.0) -> RunFacts:
        last = next(reversed(self._given_back.values()), None)
        return RunFacts(
            new_succeeded=self._new[True],
            new_failed=self._new[False],
            succeeded=self._succeeded,
            internal_failures=dict(self._internal),
            make_room=make_room,
            quarantined=quarantined,
            server_silent_s=server_silent_s,
            given_back=len(self._given_back),
            given_back_in_a_row=self._in_a_row,
            why_given_back=f"{last.reason}: {last.detail}" if last else "",
        )

    def _end(self, video: EndedVideo, *, new: bool) -> None:
        succeeded = video.end in SUCCEEDED
        self._succeeded += succeeded
        self._new[succeeded] += new
        if succeeded:
            return
        if video.reason in INTERNAL:
            self._internal[Failure.of(video.reason, video.detail)] += 1
        if len(self.failures) < MOST_SHOWN:
            self.failures.append(video)
