"""The results of a run in numbers: for Prefect's UI, for Postgres and for the terminal."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from nightreel.database.discovery import PageCounts
from nightreel.domain import AnswerState, ChunkCounts, VideoEnd
from nightreel.reasons import Reason

_OF_THE_RUN = ("total", "overlap", "overhead")  # timings that do not belong to a stage


@dataclass
class RunSummary:
    """Counts of a run so far.

    Args:
        stopped: why the run ended in good order before its work was done.
        listing: counts of listed objects. videos: by how they ended (done, reused, failed, quarantined, retried, ...).
        answers: by state. reasons: failures by reason. work: counts of `RunRecorder`.
    """

    run_id: int
    source: str
    model: str
    listing: PageCounts = field(default_factory=PageCounts)
    segments: int = 0
    videos: Counter[VideoEnd] = field(default_factory=Counter)
    answers: Counter[AnswerState] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    work: dict[str, int] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    elsewhere: int = 0
    stopped: str | None = None

    def add(self, counts: ChunkCounts) -> None:
        """Add the counts of one chunk."""
        self.segments += counts.segments
        self.videos.update(counts.videos)
        self.answers.update(counts.answers)
        self.reasons.update(counts.reasons)

    @property
    def succeeded(self) -> int:
        return self.videos[VideoEnd.DONE] + self.videos[VideoEnd.REUSED]

    @property
    def failed(self) -> int:
        return self.videos[VideoEnd.FAILED] + self.videos[VideoEnd.QUARANTINED]

    @property
    def is_green(self) -> bool:
        """Whether the run succeeded: a run in which every video failed is not green."""
        return not self.failed or bool(self.succeeded)

    @property
    def headline(self) -> str:
        if self.stopped:
            return f"stopped early: {self.stopped}; {self._done}"
        if not self.succeeded and not self.failed:
            held = f"; {self.elsewhere} claimed by other runs" if self.elsewhere else ""
            return f"nothing new: {self.listing.listed} objects listed, {self.listing.known} known{held}"
        return self._done

    @property
    def _done(self) -> str:
        return (
            f"{self.videos[VideoEnd.DONE]} done, {self.videos[VideoEnd.REUSED]} reused, {self.failed} failed; "
            f"{self.segments} segments, {self.answers.total()} answers"
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        # asdict cannot copy a Counter.
        plain = {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items()}
        return plain | {"listing": asdict(self.listing), "headline": self.headline}

    def markdown(self) -> str:
        """The artifact of the run. It contains only numbers and fixed words, no names and no answers."""
        return "\n\n".join(
            [
                f"# {self.headline}",
                _table(("videos", "count"), self.videos.items()),
                _table(("failures by reason", "videos"), self.reasons.most_common()),
                _table(("answers", "count"), self.answers.items()),
                _table(("listing", "objects"), asdict(self.listing).items()),
                _table(("work", "count"), self.work.items()),
                _table(("slowest stages", "busy seconds"), self._slowest_stages()),
                _table(("of the run", "seconds"), ((name, f"{self.timings.get(name, 0):.1f}") for name in _OF_THE_RUN)),
                "A stage is busy while any thread is in it; `model` includes all stages of the model. `overlap`: "
                "decoder and model were busy at the same time. `overhead`: no stage that works on videos was busy.",
            ]
        )

    def _slowest_stages(self) -> list[tuple[str, str]]:
        stages = {name: seconds for name, seconds in self.timings.items() if name not in _OF_THE_RUN}
        slowest = sorted(stages.items(), key=lambda item: -item[1])
        total = self.timings.get("total", 0)
        return [(name, f"{seconds:.1f} ({seconds / total:.0%})" if total else "0") for name, seconds in slowest]


class SweepSummary(RunSummary):
    """Counts of a sweep, which analyses no videos."""

    @property
    def headline(self) -> str:
        found = self.listing
        return (
            f"{found.listed} objects listed: {found.new} new, {found.changed} changed, {found.back} back, "
            f"{found.gone} gone"
        )


def _table(header: tuple[str, str], rows: Any) -> str:
    return "\n".join(
        [f"| {header[0]} | {header[1]} |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows)]
    )
