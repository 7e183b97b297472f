"""The results of a run in numbers: for Prefect's UI, for Postgres and for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nightreel.database.discovery import PageCounts
from nightreel.database.nights import Helper
from nightreel.database.quarantine import Quarantine
from nightreel.database.runs import PastRun
from nightreel.domain import ChunkCounts, VerdictState, VideoEnd, saw, too_little
from nightreel.domain.run_health import RunHealth, RunLimits, health_of
from nightreel.reasons import Reason
from nightreel.stages.tally import SUCCEEDED, Tally
from nightreel.units import counted

_HOUR_S = 3600.0


@dataclass
class RunSummary:
    """Counts of a run so far.

    Args:
        name: what the run is, such as "night 2026-11-26".
        limits: of failures; `health` applies them.
        dollars_per_hour: of the worker's device; None: not known.
        make_room: why other work needs the device, so that this run ends in good order.
        listing: counts of listed objects. videos: by how they ended (done, reused, failed, quarantined, retried, ...).
        answers: by state. reasons: failures by reason; partly_done: partly done videos by reason.
        covered_s, expected_s: seconds of the answered videos that were seen, and that they should have.
        little_seen: answered videos of which too little was seen for a "no". work: counts of `RunRecorder`.
        before: the run before of the same kind; None: there is none, or this run is not at its end.
        server_silent_s: seconds for which the Prefect server has not responded.
        quarantine: videos that wait for a person; empty until the end of the run.
        left: videos that wait for the next run, if this one ended early.
        helpers: that worked on the same backlog. What they did is in all other counts.
        device: of the run itself: see `ModelSession.device`.
    """

    run_id: int
    source: str
    model: str
    name: str = ""
    recipe_id: int | None = None
    limits: RunLimits = field(default_factory=RunLimits)
    dollars_per_hour: float | None = None
    listing: PageCounts = field(default_factory=PageCounts)
    segments: int = 0
    videos: Counter[VideoEnd] = field(default_factory=Counter)
    answers: Counter[VerdictState] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    tally: Tally = field(default_factory=Tally)
    partly_done: Counter[Reason] = field(default_factory=Counter)
    covered_s: float = 0.0
    expected_s: float = 0.0
    little_seen: int = 0
    work: dict[str, int] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    elsewhere: int = 0
    make_room: str | None = None
    before: PastRun | None = None
    server_silent_s: float = 0.0
    quarantine: Quarantine = field(default_factory=Quarantine)
    left: int = 0
    helpers: list[Helper] = field(default_factory=list)
    device: str = ""

    def add_helper(self, helper: Helper) -> None:
        """Add what a helper did."""
        self.helpers.append(helper)
        counts = helper.counts
        self.segments += counts.get("segments", 0)
        self.videos.update({VideoEnd(name): count for name, count in counts.get("videos", {}).items()})
        self.answers.update({VerdictState(name): count for name, count in counts.get("answers", {}).items()})
        self.reasons.update({Reason.of(name): count for name, count in counts.get("reasons", {}).items()})
        self.partly_done.update({Reason.of(name): count for name, count in counts.get("partly_done", {}).items()})
        seen = counts.get("seen", {})
        self.covered_s += seen.get("covered_s", 0.0)
        self.expected_s += seen.get("expected_s", 0.0)
        self.little_seen += seen.get("little_seen", 0)
        new = counts.get("new_videos", {})
        self.tally.add_run(
            new_succeeded=new.get("succeeded", 0),
            new_failed=new.get("failed", 0),
            succeeded=sum(counts.get("videos", {}).get(end, 0) for end in SUCCEEDED),
        )

    @property
    def own_segments(self) -> int:
        """Segments of the run itself, without its helpers."""
        return self.segments - sum(int(helper.counts.get("segments", 0)) for helper in self.helpers)

    def take_report(self, work: Mapping[str, int], timings: Mapping[str, float]) -> None:
        """Set the work of the run and its helpers, and the timings of the run."""
        total = Counter(work)
        for helper in self.helpers:
            total.update(helper.counts.get("work", {}))
        self.work, self.timings = dict(sorted(total.items())), dict(timings)

    def add(self, counts: ChunkCounts) -> None:
        """Add the counts of one chunk."""
        self.segments += counts.segments
        self.videos.update(counts.videos)
        for (_, state), count in counts.verdicts.items():
            self.answers[state] += count
        self.reasons.update(counts.reasons)
        self.tally.add(counts.ended)
        self.partly_done.update(counts.partly_done)
        self.covered_s += counts.covered_s
        self.expected_s += counts.expected_s
        self.little_seen += counts.little_seen

    @property
    def succeeded(self) -> int:
        return self.videos[VideoEnd.DONE] + self.videos[VideoEnd.REUSED] + self.videos[VideoEnd.PARTLY_DONE]

    @property
    def failed(self) -> int:
        return self.videos[VideoEnd.FAILED] + self.videos[VideoEnd.QUARANTINED]

    @property
    def health(self) -> RunHealth:
        """Whether the run goes on, and whether it is red."""
        facts = self.tally.facts(
            make_room=self.make_room, quarantined=self.quarantine.new, server_silent_s=self.server_silent_s
        )
        return health_of(facts, self.limits)

    @property
    def is_green(self) -> bool:
        return self.health.red is None

    @property
    def stopped(self) -> str | None:
        """Why the run ended before its work was done; None: it did not."""
        return self.health.stop

    @property
    def cost_s(self) -> float:
        """Seconds for which the run and its helpers kept their workers busy: without the wait for memory."""
        return sum(busy_s(timings) for timings in (self.timings, *(helper.timings for helper in self.helpers)))

    @property
    def dollars(self) -> float | None:
        return None if self.dollars_per_hour is None else self.cost_s / _HOUR_S * self.dollars_per_hour

    @property
    def headline(self) -> str:
        if self.stopped:
            left = f"; {counted(self.left, 'video')} left for the next run" if self.left else ""
            return f"stopped early: {self.stopped}; {self._done}{left}"
        if not self.succeeded and not self.failed:
            held = f"; {self.elsewhere} claimed by other runs" if self.elsewhere else ""
            return f"nothing new: {self.listing.listed} objects listed, {self.listing.known} known{held}"
        return self._done

    @property
    def _done(self) -> str:
        partly = f"{count} partly done, " if (count := self.videos[VideoEnd.PARTLY_DONE]) else ""
        return (
            f"{self.videos[VideoEnd.DONE]} done, {partly}{self.videos[VideoEnd.REUSED]} reused, {self.failed} failed; "
            f"{self.segments} segments, {self.answers.total()} answers{self._helped}"
        )

    @property
    def _helped(self) -> str:
        if not self.helpers:
            return ""
        broken = sum(helper.status != "completed" for helper in self.helpers)
        return f"; with {counted(len(self.helpers), 'helper')}" + (f", of which {broken} ended early" if broken else "")

    @property
    def coverage(self) -> str | None:
        """How much of the answered videos was seen, in words; None if all of it."""
        if not too_little(self.covered_s, self.expected_s, 1.0):
            return None
        videos = f"{self.little_seen} video" + "s" * (self.little_seen != 1)
        enough = f'; too little of {videos} for a "no"' if self.little_seen else ""
        return f"{saw(self.covered_s, self.expected_s)} of the answered videos{enough}"

    @property
    def quarantined(self) -> str | None:
        """What waits in quarantine, in words; None if nothing does."""
        waiting = self.quarantine
        if not waiting.videos:
            return None
        new = f", {waiting.new} of them new and because they kill runs" if waiting.new else ""
        return f"{counted(waiting.videos, 'video')} in quarantine{new}: `nightreel failures` shows what to check"

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        facts = self.tally.facts()
        return {
            "run_id": self.run_id,
            "name": self.name,
            "source": self.source,
            "model": self.model,
            "device": self.device,
            "headline": self.headline,
            "red": self.health.red,
            "stopped": self.stopped,
            "new_videos": {"succeeded": facts.new_succeeded, "failed": facts.new_failed},
            "videos": dict(self.videos),
            "reasons": dict(self.reasons),
            "partly_done": dict(self.partly_done),
            "coverage": self.coverage,
            "seen": {
                "covered_s": self.covered_s,
                "expected_s": self.expected_s,
                "little_seen": self.little_seen,
            },
            "quarantine": {
                "videos": self.quarantine.videos,
                "new": self.quarantine.new,
                "killed_runs": [{"uri": uri, "runs": runs} for uri, runs in self.quarantine.killers],
            },
            "segments": self.segments,
            "answers": dict(self.answers),
            "listing": asdict(self.listing),
            "elsewhere": self.elsewhere,
            "left": self.left,
            "work": dict(self.work),
            "timings": dict(self.timings),
            "cost": {"seconds": self.cost_s, "dollars": self.dollars},
            "helpers": [
                {"run_id": helper.run_id, "status": helper.status, "seconds": busy_s(helper.timings)}
                for helper in self.helpers
            ],
        }


def busy_s(timings: Mapping[str, float]) -> float:
    return max(0.0, timings.get("total", 0.0) - timings.get("lease", 0.0))


class SweepSummary(RunSummary):
    """Counts of a sweep, which analyses no videos."""

    @property
    def headline(self) -> str:
        found = self.listing
        return (
            f"{found.listed} objects listed: {found.new} new, {found.changed} changed, {found.back} back, "
            f"{found.gone} gone"
        )
