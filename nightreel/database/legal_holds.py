"""Legal holds: what must not be erased. `sql/views/33_legal_holds.sql` says which videos a hold counts for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, text, update

from nightreel.database import schema

_holds = schema.legal_holds


@dataclass(frozen=True, slots=True, kw_only=True)
class LegalHold:
    """A hold. `uri`, `content_sha256`: one of them, or none if what it held was erased after it was removed.

    Args:
        videos: known videos that it counts for. removed_at: None: it counts.
    """

    hold_id: int
    uri: str | None
    content_sha256: str | None
    reason: str | None
    made_by: str
    created_at: datetime
    removed_at: datetime | None
    removed_by: str | None
    videos: int


def add_hold(
    connection: Connection, *, uri: str | None = None, content_sha256: str | None = None, reason: str, made_by: str
) -> int | None:
    """Hold an object or a content. Returns the number of the hold; None: it is held already."""
    row = {"uri": uri, "content_sha256": content_sha256, "reason": reason, "made_by": made_by}
    is_held = select(_holds.c.id).where(
        func.coalesce(_holds.c.uri, _holds.c.content_sha256) == (uri or content_sha256), _holds.c.removed_at.is_(None)
    )
    if connection.execute(is_held).scalar() is not None:
        return None
    return int(connection.execute(insert(_holds).values(row).returning(_holds.c.id)).scalar_one())


def remove_hold(connection: Connection, hold_id: int, *, removed_by: str) -> bool:
    """End a hold. Returns whether one with this number counted."""
    ended = update(_holds).where(_holds.c.id == hold_id, _holds.c.removed_at.is_(None))
    return bool(connection.execute(ended.values(removed_at=func.now(), removed_by=removed_by)).rowcount)


def list_holds(connection: Connection, *, removed: bool = False) -> list[LegalHold]:
    """The holds that count, the newest first; `removed`: also those that do not any more."""
    rows = connection.execute(
        text("SELECT * FROM reporting.legal_holds WHERE removed_at IS NULL OR :removed ORDER BY hold_id DESC"),
        {"removed": removed},
    )
    return [LegalHold(**row) for row in rows.mappings()]


def holds_of(connection: Connection, video_ids: Collection[int]) -> dict[int, str]:
    """The holds that count for these videos: their reasons by number."""
    rows = connection.execute(
        text(
            "SELECT DISTINCT hold.id, hold.reason FROM nightreel.held_videos AS held "
            "JOIN nightreel.legal_holds AS hold ON hold.id = held.hold_id "
            "WHERE held.video_id = ANY (CAST(:video_ids AS bigint[])) ORDER BY hold.id"
        ),
        {"video_ids": sorted(video_ids)},
    )
    return {row.id: row.reason for row in rows}
