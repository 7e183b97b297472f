"""Chooses the features to evict, and allows one eviction at a time: the database's side of eviction.

`nightreel.cache.eviction` calls it and deletes the files. This module knows rows and uris, and nothing of storage.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select, text, update

from nightreel.database import schema
from nightreel.database.connection import Database
from nightreel.database.statements import statement

_EVICTOR_LOCK = 0x6E72_0003  # an arbitrary constant: one eviction at a time

_features = schema.features


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUsage:
    """The usage of a cache, according to the index.

    Args:
        features, size_bytes: files of features, without thumbnails.
        oldest_use: last use of the least recently used feature; None in an empty cache.
        thumbnails: files of thumbnails.
        without_file: rows whose features were evicted or lost.
    """

    features: int
    size_bytes: int
    oldest_use: datetime | None
    thumbnails: int
    without_file: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in the order of last use; the start by default."""

    used_at: datetime = datetime(1, 1, 1, tzinfo=UTC)
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictedBatch:
    """The result of one eviction step over the least recently used features.

    Args:
        uris: by key: files to delete, which no row points to any more.
        size_bytes: of these files.
        needed: features skipped because work needs them.
        end: where to continue; None if no rows follow.
    """

    uris: Mapping[str, str]
    size_bytes: int
    needed: int
    end: Cursor | None


def cache_usage(connection: Connection, uri_prefix: str) -> CacheUsage:
    """Count the index's files below `uri_prefix`. Reads every row: tenths of a second for a million."""
    row = connection.execute(statement("cache_usage"), {"uri_prefix": uri_prefix}).one()
    return CacheUsage(**row._mapping)


def evict_batch(
    connection: Connection, *, uri_prefix: str, after: Cursor, excess_bytes: int, batch: int, dry_run: bool
) -> EvictedBatch:
    """Set the uris of some features to null, the least recently used first. Features that work needs stay.

    Args:
        uri_prefix: of the cache; other features stay.
        after: where to start. batch: number of rows to read.
        excess_bytes: stop when features of this size are evicted.
        dry_run: change nothing, only return the choice.
    """
    rows = connection.execute(
        statement("evict"),
        {
            "uri_prefix": uri_prefix,
            "after_used_at": after.used_at,
            "after_key": after.key,
            "excess_bytes": excess_bytes,
            "batch": batch,
            "dry_run": dry_run,
        },
    ).all()
    evicted = [row for row in rows if row.evicted_uri is not None]
    return EvictedBatch(
        uris={row.key: row.evicted_uri for row in evicted},
        size_bytes=sum(row.size_bytes for row in evicted),
        needed=sum(row.needed for row in rows),
        end=Cursor(rows[-1].last_used_at, rows[-1].key) if len(rows) == batch else None,
    )


def lock_unindexed(connection: Connection, uris: Mapping[str, str]) -> dict[str, str]:
    """The given files that may be deleted during the transaction, because their locked rows do not point to them.

    Args:
        uris: by key. A file without a row is not returned: there is nothing to lock.
    """
    parameters = {"keys": list(uris), "uris": list(uris.values())}
    return {row.key: row.uri for row in connection.execute(statement("lock_unindexed"), parameters)}


def note_deleted(connection: Connection, keys: Collection[str]) -> None:
    """Record that files of these keys were deleted under their rows' locks: see `database.features.record_features`."""
    connection.execute(update(_features).where(_features.c.key.in_(keys)).values(evictions=_features.c.evictions + 1))


def restore_files(connection: Connection, uris: Mapping[str, str]) -> None:
    """Let locked rows point to their files again, because these could not be deleted."""
    for key, uri in uris.items():
        connection.execute(update(_features).where(_features.c.key == key).values(uri=uri))


@contextmanager
def sole_evictor(database: Database) -> Iterator[bool]:
    """Whether this is the only running eviction: two at the same time would both make room for the same excess.

    The lock belongs to a transaction that stays open and idle: behind a connection pooler, only a transaction keeps its
    session. It ends with the connection, so that a killed process leaves nothing to clean up.
    """
    with database.begin() as connection:
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        yield connection.execute(select(func.pg_try_advisory_xact_lock(_EVICTOR_LOCK))).scalar_one()
