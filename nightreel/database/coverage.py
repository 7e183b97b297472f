"""How much of a video its answers have seen, which segments failed, and the least coverage for a "no".

The write stage records coverage and failed segments when a claim ends. The views of schema `reporting` judge answers by
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from nightreel.database import schema
from nightreel.database.recipes import Recipe
from nightreel.database.results import storable
from nightreel.database.statements import statement
from nightreel.domain import Segment
from nightreel.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenVideo:
    """The coverage of one analysis.

    Args:
        expected_s: seconds that the file should hold; None if that is not known.
        little_seen: whether a "no" about the video is unknown.
    """

    covered_s: float
    expected_s: float | None
    little_seen: bool


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
            "prompt_ids": sorted(recipe.prompt_ids.values()),
        },
    )
    return [SeenVideo(covered_s=row.covered_s, expected_s=row.expected_s, little_seen=row.little_seen) for row in rows]


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


def set_min_coverage(connection: Connection, min_coverage: float) -> bool:
    """Set the least coverage for a "no" about a segment or a video. Returns whether it changed."""
    judging = schema.judging
    if connection.execute(select(judging.c.min_coverage)).scalar() == min_coverage:
        return False
    values = {"min_coverage": min_coverage}
    connection.execute(upsert(judging).values(values).on_conflict_do_update(index_elements=["only"], set_=values))
    return True
