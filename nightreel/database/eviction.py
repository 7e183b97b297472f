"""Which features go, in what order, and by whom: the database's side of eviction.

`nightreel.cache.eviction` calls it and deletes the files. It knows rows and uris, and nothing of storage.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select, update

from nightreel.database import schema
from nightreel.database.connection import Database
from nightreel.database.statements import statement

_EVICTOR_LOCK = 0x6E72_0003  # any constant of ours: one eviction at a time

_features = schema.features


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUsage:
    """What the index says of a cache.

    Args:
        features, size_bytes: files of features, thumbnails not counted.
        oldest_use: when the feature that was not used for the longest time was used last; None in an empty cache.
        thumbnails: files of pictures.
        without_file: rows whose features were evicted or lost.
    """

    features: int
    size_bytes: int
    oldest_use: datetime | None
    thumbnails: int
    without_file: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the order of last use. The beginning by default."""

    used_at: datetime = datetime(1, 1, 1, tzinfo=UTC)
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictedBatch:
    """What one look at the least recently used features came to.

    Args:
        uris: by key: files that no row points to any more and that are to be deleted.
        size_bytes: of these files.
        needed: features passed over because work needs them.
        end: where to go on; None when there is nothing behind it.
    """

    uris: Mapping[str, str]
    size_bytes: int
    needed: int
    end: Cursor | None


def cache_usage(connection: Connection, uri_prefix: str) -> CacheUsage:
    """Count what the index has below `uri_prefix`. Reads every row: tenths of a second for a million."""
    row = connection.execute(statement("cache_usage"), {"uri_prefix": uri_prefix}).one()
    return CacheUsage(**row._mapping)


def evict_batch(
    connection: Connection, *, uri_prefix: str, after: Cursor, excess_bytes: int, batch: int, dry_run: bool
) -> EvictedBatch:
    """Take the places of some features out of the index, the least recently used first, never what work needs.

    Args:
        uri_prefix: of the cache; features elsewhere are left alone.
        after: where to begin; batch: how many rows to look at.
        excess_bytes: stop when so much was taken.
        dry_run: only say which it would be.
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
    """Those of these files that may be deleted as long as the transaction lasts, because their rows point elsewhere.

    Args:
        uris: by key. What has no row at all is not returned: there is nothing to lock.
    """
    parameters = {"keys": list(uris), "uris": list(uris.values())}
    return {row.key: row.uri for row in connection.execute(statement("lock_unindexed"), parameters)}


def note_deleted(connection: Connection, keys: Collection[str]) -> None:
    """Files of these keys were deleted under the locks of their rows: see `database.features.record_features`."""
    connection.execute(update(_features).where(_features.c.key.in_(keys)).values(evictions=_features.c.evictions + 1))


def restore_files(connection: Connection, uris: Mapping[str, str]) -> None:
    """Let rows that are locked point to their files again, which could not be deleted."""
    for key, uri in uris.items():
        connection.execute(update(_features).where(_features.c.key == key).values(uri=uri))


@contextmanager
def sole_evictor(database: Database) -> Iterator[bool]:
    """Whether this is the only eviction at work: two at once would both make room for the same excess.

    The lock goes with the session, so that nobody has to clean up after a process that was killed.
    """
    with database.translated(), database.engine.connect() as connection:
        won = connection.execute(select(func.pg_try_advisory_lock(_EVICTOR_LOCK))).scalar_one()
        connection.commit()
        try:
            yield won
        except BaseException:
            connection.invalidate()  # closes the session, and the lock with it
            raise
        if won:  # said, not left to the end of the session, which the server may notice a moment later
            connection.execute(select(func.pg_advisory_unlock(_EVICTOR_LOCK)))
            connection.commit()
