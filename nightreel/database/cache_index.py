"""Reads the whole index of the feature cache, and repairs it.

`nightreel.cache.check` compares it with the files. This module knows nothing of storage.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, or_, select, update

from nightreel.database import schema
from nightreel.database.connection import Database

_features = schema.features
_COLUMNS = ("key", "uri", "thumbnail_uri", "size_bytes", "sha256", "last_used_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """The index's row of one segment's files. A uri is None if there should be no file."""

    key: str
    uri: str | None
    thumbnail_uri: str | None
    size_bytes: int
    sha256: str
    last_used_at: datetime


def database_time(connection: Connection) -> datetime:
    """The database's time, which `last_used_at` uses."""
    return connection.execute(select(func.now())).scalar_one()


def index_rows(database: Database, uri_prefix: str, *, page_size: int) -> Iterator[IndexRow]:
    """Rows with a file below `uri_prefix`, in the order of their keys. Read in pages, so that memory stays flat."""
    after = ""
    here = or_(*(func.starts_with(_features.c[name], uri_prefix) for name in ("uri", "thumbnail_uri")))
    while True:
        with database.begin() as connection:
            page = _read(connection, _features.c.key > after, here, limit=page_size)
        yield from page
        if len(page) < page_size:
            return
        after = page[-1].key


def index_rows_of(connection: Connection, keys: Collection[str]) -> dict[str, IndexRow]:
    """The current rows of these keys, with files anywhere."""
    return {row.key: row for row in _read(connection, _features.c.key.in_(keys))}


def forget_files(connection: Connection, keys: Collection[str], *, unused_since: datetime) -> set[str]:
    """Set the uris of features to null, unless they were used since `unused_since`. Returns the changed keys."""
    return _set_null(connection, "uri", keys, unused_since)


def forget_thumbnails(connection: Connection, keys: Collection[str], *, unused_since: datetime) -> set[str]:
    """Like `forget_files`, for thumbnails."""
    return _set_null(connection, "thumbnail_uri", keys, unused_since)


def _set_null(connection: Connection, column: str, keys: Collection[str], unused_since: datetime) -> set[str]:
    free = (
        select(_features.c.key)
        .where(_features.c.key.in_(keys), _features.c.last_used_at < unused_since, _features.c[column].is_not(None))
        .order_by(_features.c.key)
        .with_for_update(skip_locked=True)
    )
    locked = set(connection.execute(free).scalars())
    connection.execute(update(_features).where(_features.c.key.in_(locked)).values({column: None}))
    return locked


def _read(connection: Connection, *conditions: ColumnElement[bool], limit: int | None = None) -> list[IndexRow]:
    query = select(*(_features.c[name] for name in _COLUMNS)).where(*conditions).order_by(_features.c.key).limit(limit)
    return [IndexRow(**row) for row in connection.execute(query).mappings()]
