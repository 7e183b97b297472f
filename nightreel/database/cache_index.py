"""The index of the feature cache read from one end to the other, and what is repaired in it.

`nightreel.cache.check` holds it against the files. It knows nothing of storage.
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
    """What the index says of one segment's files. A uri is None where there should be no file."""

    key: str
    uri: str | None
    thumbnail_uri: str | None
    size_bytes: int
    sha256: str
    last_used_at: datetime


def database_time(connection: Connection) -> datetime:
    """The clock by which `last_used_at` goes."""
    return connection.execute(select(func.now())).scalar_one()


def index_rows(database: Database, uri_prefix: str, *, page_size: int) -> Iterator[IndexRow]:
    """Rows with a file below `uri_prefix`, in the order of their keys, read by pages: memory stays flat."""
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
    """The rows of these keys as they are now, wherever their files are."""
    return {row.key: row for row in _read(connection, _features.c.key.in_(keys))}


def forget_files(connection: Connection, keys: Collection[str], *, unused_since: datetime) -> set[str]:
    """Take the places of features out of the index, unless they were used since; returns whose it was."""
    return _set_null(connection, "uri", keys, unused_since)


def forget_thumbnails(connection: Connection, keys: Collection[str], *, unused_since: datetime) -> set[str]:
    """The same for thumbnails."""
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
