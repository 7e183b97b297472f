"""Facts and answers about videos: reads before the work, upserts after it.

Every write here may be repeated: a second time changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, exists, select, update

from nightreel.database import schema

_MAX_TEXT = 100_000  # characters of one answer or detail: a looping model must not fill the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVideo:
    """Known facts about a version of an object. `has_twin`: another video has the same bytes."""

    content_sha256: str | None
    probe: Mapping[str, Any] | None
    has_twin: bool


def storable(value: Any) -> Any:
    """`value`, with characters that Postgres cannot store (NUL, lone surrogates) replaced in all strings."""
    if isinstance(value, str):
        return value[:_MAX_TEXT].replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value


def known_videos(connection: Connection, video_ids: Collection[int]) -> dict[int, KnownVideo]:
    """What is known of these videos, by id."""
    videos, twin = schema.videos, schema.videos.alias("twin")
    has_twin = exists().where(twin.c.content_sha256 == videos.c.content_sha256, twin.c.id != videos.c.id)
    rows = connection.execute(
        select(videos.c.id, videos.c.content_sha256, videos.c.probe, has_twin.label("has_twin")).where(
            videos.c.id.in_(video_ids)
        )
    )
    return {
        row.id: KnownVideo(content_sha256=row.content_sha256, probe=row.probe, has_twin=row.has_twin) for row in rows
    }


def probe_of_content(connection: Connection, content_sha256: str) -> Mapping[str, Any] | None:
    """The probe of any video with these bytes."""
    videos = schema.videos
    return connection.execute(
        select(videos.c.probe).where(videos.c.content_sha256 == content_sha256, videos.c.probe.is_not(None)).limit(1)
    ).scalar()


def record_content(connection: Connection, video_id: int, content_sha256: str) -> None:
    connection.execute(
        update(schema.videos).where(schema.videos.c.id == video_id).values(content_sha256=content_sha256)
    )


def record_probe(
    connection: Connection,
    video_id: int,
    probe: Mapping[str, Any],
    *,
    duration_s: float | None,
    expected_s: float | None,
) -> None:
    connection.execute(
        update(schema.videos)
        .where(schema.videos.c.id == video_id)
        .values(probe=storable(dict(probe)), duration_s=duration_s, expected_s=expected_s)
    )
