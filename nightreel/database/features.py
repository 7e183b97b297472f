"""The index of the feature cache: which features exist, where, when they were last used, and which work can use them.

`encode` looks up and records features, `ask` forgets broken ones, eviction and `nightreel cache check` delete. Every
statement here that locks several rows locks them in the order of their keys, or skips locked ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema
from nightreel.database.recipes import Recipe
from nightreel.database.statements import statement
from nightreel.domain import EncodedSegment, FeatureRef

_features = schema.features


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFeatures:
    """A row of `features`: the sampled frames, what they cover, and where their features are, if they still exist."""

    ref: FeatureRef | None
    pts_s: tuple[float, ...]
    damaged_frames: int
    covered_s: float | None
    decoder: str
    decoder_version: str
    evictions: int


def known_features(connection: Connection, keys: Collection[str]) -> dict[str, KnownFeatures]:
    """Rows of `features` by key. Also sets their time of last use to now."""
    rows = connection.execute(statement("use_features"), {"keys": sorted(keys)})
    return {
        row.key: KnownFeatures(
            ref=FeatureRef(key=row.key, uri=row.uri, size_bytes=row.size_bytes, sha256=row.sha256) if row.uri else None,
            pts_s=tuple(row.pts_s),
            damaged_frames=row.damaged_frames,
            covered_s=row.covered_s,
            decoder=row.decoder,
            decoder_version=row.decoder_version,
            evictions=row.evictions,
        )
        for row in rows
    }


def record_features(
    connection: Connection, segments: Sequence[EncodedSegment], *, recipe: Recipe, evictions: Mapping[str, int]
) -> set[str]:
    """Record where features were published, unless a file of that key was deleted in the meantime.

    Publishing keeps an existing file. If an eviction deletes that file at the same time, the row would point to a
    missing file. So a deletion increments `evictions` under the row's lock, and this function compares it.

    Args:
        evictions: by key, as read before publishing; 0 if there was no row.

    Returns:
        The recorded keys. The others must be published again.
    """
    contents = _contents(connection, {segment.video_id for segment in segments})
    rows = {
        segment.feature.key: {
            "key": segment.feature.key,
            "uri": segment.feature.uri,
            "size_bytes": segment.feature.size_bytes,
            "sha256": segment.feature.sha256,
            "pts_s": list(segment.pts_s),
            "damaged_frames": segment.damaged_frames,
            "covered_s": segment.covered_s,
            "decoder": segment.decoder,
            "decoder_version": segment.decoder_version,
            "thumbnail_uri": segment.thumbnail_uri,
            "content_sha256": contents[segment.video_id],
            "plan": str(segment.second_look.look.sampling if segment.second_look else recipe.plan),
            "model_id": recipe.model_id,
            "evictions": evictions.get(segment.feature.key, 0),
        }
        for segment in segments
    }
    if not rows:
        return set()
    kept = ("uri", "size_bytes", "sha256", "thumbnail_uri", "content_sha256", "plan", "model_id", "covered_s")
    new = insert(_features).values([rows[key] for key in sorted(rows)])
    recorded = connection.execute(
        new.on_conflict_do_update(
            index_elements=["key"],
            set_={name: new.excluded[name] for name in kept} | {"last_used_at": func.now()},
            where=_features.c.evictions == new.excluded.evictions,
        ).returning(_features.c.key)
    )
    return set(recorded.scalars())


def forget_features(connection: Connection, key: str) -> None:
    """Set the uri of a lost or damaged file to null. The row stays for the answers that were made from it."""
    connection.execute(update(_features).where(_features.c.key == key).values(uri=None))


def _contents(connection: Connection, video_ids: Collection[int]) -> dict[int, str | None]:
    videos = schema.videos
    rows = connection.execute(select(videos.c.id, videos.c.content_sha256).where(videos.c.id.in_(video_ids)))
    return {row.id: row.content_sha256 for row in rows}
