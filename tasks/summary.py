"""What a run did, in numbers: for the UI, for Postgres, for the one who waits at the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from nightreel.discovery import PageCounts


@dataclass
class RunSummary:
    """Counts of a run as they grow.

    Args:
        listing: what the listing held. videos: by how they ended (done, reused, failed, quarantined, retried, ...).
        answers: by state. reasons: failures by reason. work: what was fetched, decoded, encoded.
    """

    run_id: int
    source: str
    model: str
    listing: PageCounts = field(default_factory=PageCounts)
    segments: int = 0
    videos: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    work: dict[str, int] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    elsewhere: int = 0

    def add(self, counts: Mapping[str, int]) -> None:
        """Counts of one chunk, as the write stage names them."""
        for name, count in counts.items():
            group, _, member = name.partition(".")
            match group:
                case "segments":
                    self.segments += count
                case "lost":
                    self.videos["lost"] += count
                case _:
                    getattr(self, group)[member] += count

    @property
    def succeeded(self) -> int:
        return self.videos["done"] + self.videos["reused"]

    @property
    def failed(self) -> int:
        return self.videos["failed"] + self.videos["quarantined"]

    @property
    def is_green(self) -> bool:
        """A run in which every video failed is not green."""
        return not self.failed or bool(self.succeeded)

    @property
    def headline(self) -> str:
        if not self.succeeded and not self.failed:
            held = f"; {self.elsewhere} in work by other runs" if self.elsewhere else ""
            return f"nothing new: {self.listing.listed} objects listed, {self.listing.known} known{held}"
        return (
            f"{self.videos['done']} done, {self.videos['reused']} reused, {self.failed} failed; "
            f"{self.segments} segments, {self.answers.total()} answers"
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        # Not asdict for the whole: it cannot copy a Counter.
        plain = {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items()}
        return plain | {"listing": asdict(self.listing), "headline": self.headline}

    def markdown(self) -> str:
        """The artifact of the run. Holds numbers and words of our own alone: nothing of names or answers."""
        return "\n\n".join(
            [
                f"# {self.headline}",
                _table(("videos", "count"), self.videos.items()),
                _table(("failures by reason", "videos"), self.reasons.most_common()),
                _table(("answers", "count"), self.answers.items()),
                _table(("listing", "objects"), asdict(self.listing).items()),
                _table(("work", "count"), self.work.items()),
                _table(("stage", "busy seconds"), ((name, f"{value:.1f}") for name, value in self.timings.items())),
                "`overlap` is the time in which decoder and model were busy at once.",
            ]
        )


def _table(header: tuple[str, str], rows: Any) -> str:
    return "\n".join(
        [f"| {header[0]} | {header[1]} |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows)]
    )
