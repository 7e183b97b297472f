"""How much of a video its answers have seen, and which segments failed. The write stage records both at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert

from nightreel.database import schema
from nightreel.database.recipes import Recipe
from nightreel.database.results import storable
from nightreel.database.statements import statement
from nightreel.domain import Segment, too_little
from nightreel.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenVideo:
    """The coverage of one analysis.

    Args:
        expected_s: seconds that the file should hold; None if that is not known.
    """

    covered_s: float
    expected_s: float | None

    def little_seen(self, coverage: float) -> bool:
        """Whether a "no" about the video is unknown, where this share must be seen."""
        return self.expected_s is None or too_little(self.covered_s, self.expected_s, coverage)


@dataclass(frozen=True, slots=True)
class SegmentFailure:
    """Why one segment failed. The answers of the other segments are kept."""

    segment: Segment
    reason: Reason
    detail: str
    transient: bool


def record_coverage(connection: Connection, analysis_ids: Sequence[int], recipe: Recipe) -> list[SeenVideo]:
    """Write how much of their videos analyses have seen."""
    rows = connection.execute(
        statement("record_coverage"),
        {
            "analysis_ids": sorted(analysis_ids),
            "plan_hash": recipe.plan.hash,
            "model_id": recipe.model_id,
            "question_ids": sorted(recipe.question_ids.values()),
        },
    )
    return [SeenVideo(covered_s=row.covered_s, expected_s=row.expected_s) for row in rows]


def record_failed_segments(connection: Connection, failures: Mapping[int, Sequence[SegmentFailure]]) -> None:
    """Replace the failed segments of analyses, by id. Of several failures of one segment, the first is kept."""
    failed = schema.failed_segments
    connection.execute(delete(failed).where(failed.c.analysis_id.in_(failures)))
    rows = [
        {
            "analysis_id": analysis_id,
            "index": index,
            "start_s": failure.segment.start_s,
            "end_s": failure.segment.end_s,
            "reason": failure.reason,
            "detail": storable(failure.detail),
        }
        for analysis_id, own in failures.items()
        for index, failure in {failure.segment.index: failure for failure in reversed(own)}.items()
    ]
    if rows:
        connection.execute(insert(failed), rows)
