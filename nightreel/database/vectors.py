"""The vectors of segments, for search by meaning. `nightreel.search` reads them.

They need pgvector, which a Postgres may lack (sql/views/19_search_near.sql): then nothing is written, all else works.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema
from nightreel.database.statements import statement

_models = schema.embedding_models


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentVector:
    """The vector of a stored segment: float16 (width,)."""

    video_id: int
    plan_hash: str
    index: int
    vector: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentWithoutVector:
    """A segment on show that lacks a vector.

    Args:
        thumbnail_uri: the picture of its frames; None if there is none. frame_times_s: their times.
    """

    segment_id: int
    video_id: int
    plan_hash: str
    index: int
    uri: str
    etag: str
    content_sha256: str | None
    thumbnail_uri: str | None
    frame_times_s: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorCounts:
    """How many segments on show have a vector of a model."""

    segments: int
    with_vector: int


def why_no_vectors(connection: Connection) -> str | None:
    """Why this Postgres can have no search by meaning, and what to do; None if it can."""
    return connection.execute(text("SELECT reporting.search_near_lacks()")).scalar()


def find_embedding_model(connection: Connection, model_hash: str) -> int | None:
    """The id of a model that has vectors; None if it never made one."""
    return connection.execute(select(_models.c.id).where(_models.c.hash == model_hash)).scalar()


def used_commit_of_encoder(connection: Connection, repository: str) -> str | None:
    """The commit of a model on a hub that made vectors last."""
    return connection.execute(select(func.reporting.search_near_commit(repository))).scalar()


def use_embedding_model(connection: Connection, *, model_hash: str, spec: Mapping[str, Any], width: int) -> int:
    """Find or add the row of a model, make the index of its vectors, and make it the one that searches use.

    Call it in a transaction of its own, before the first vector: the index is made while the model has none.

    Args:
        spec: JSON values; `name` and `revision` are read.
    """
    row = {
        "hash": model_hash,
        "name": spec["name"],
        "revision": spec["revision"],
        "width": width,
        "spec": dict(spec),
    }
    found = find_embedding_model(connection, model_hash)
    if found is None:
        added = insert(_models).values(**row).on_conflict_do_nothing(index_elements=["hash"]).returning(_models.c.id)
        found = connection.execute(added).scalar() or find_embedding_model(connection, model_hash)
    assert found is not None
    connection.execute(update(_models).where(_models.c.id == found).values(used_at=func.now()))
    connection.execute(select(func.nightreel.index_vectors(found)))
    return found


def write_vectors(connection: Connection, vectors: Sequence[SegmentVector], *, embedding_model_id: int) -> None:
    """Store vectors of segments that exist. A segment keeps the vector that it has."""
    if not vectors:
        return
    connection.execute(
        statement("write_vectors"),
        {
            "embedding_model_id": embedding_model_id,
            "video_ids": [one.video_id for one in vectors],
            "plan_hashes": [one.plan_hash for one in vectors],
            "indexes": [one.index for one in vectors],
            "vectors": [_written(one.vector) for one in vectors],
        },
    )


def share_vectors(connection: Connection, video_ids: Collection[int], *, embedding_model_id: int) -> None:
    """Copy the vectors of other videos with the same bytes to the segments of these that have none."""
    if video_ids:
        connection.execute(
            statement("share_vectors"),
            {"video_ids": sorted(set(video_ids)), "embedding_model_id": embedding_model_id},
        )


def segments_without_vector(
    connection: Connection, *, embedding_model_id: int | None, after: int, limit: int
) -> list[SegmentWithoutVector]:
    """Segments on show without a vector of the model, by id, after the one with this id."""
    rows = connection.execute(
        statement("segments_without_vector"),
        {"embedding_model_id": embedding_model_id, "after": after, "limit": limit},
    )
    return [SegmentWithoutVector(**row) for row in rows.mappings()]


def count_vectors(connection: Connection, *, embedding_model_id: int | None) -> VectorCounts:
    """How many segments are on show, and how many of them have a vector of the model."""
    row = connection.execute(statement("count_vectors"), {"embedding_model_id": embedding_model_id}).one()
    return VectorCounts(segments=row.segments, with_vector=row.with_vector)


def _written(vector: np.ndarray) -> str:
    """A vector as an array of Postgres."""
    assert np.isfinite(vector).all(), "models.embedding makes no other"
    return f"{{{','.join(format(float(one), '.6g') for one in vector)}}}"
