"""The rows of a view in `reporting`, as a stream: any view, with filters on any of its columns.

Names of views and columns are those of the catalog. Values of filters are parameters, cast to the column's type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, quoted_name, text
from sqlalchemy.exc import DataError, ProgrammingError

from nightreel.errors import SettingsError
from nightreel.suggestions import refusal

_OPERATORS = ("<=", ">=", "!=", "=", "<", ">")
_FILTER = re.compile(rf"\s*(\w+)\s*({'|'.join(_OPERATORS)})(.*)", re.DOTALL)
_COMPARABLE = re.compile(r"text|bigint|integer|double precision|boolean|timestamp.*|date|real|numeric.*")
_BATCH = 5000
_REFUSED = ("42501",)
"""SQLSTATE of a right that is missing: no filter is to blame."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a view. `type` is Postgres's name: "text", "double precision[]", "jsonb"."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on a column: one of = != < <= > >=, as `severity>=3`."""

    column: str
    operator: str
    value: str


def parse_filter(written: str) -> Filter:
    """
    >>> parse_filter("severity >= 3"), parse_filter("prompt=gore")
    (Filter(column='severity', operator='>=', value='3'), Filter(column='prompt', operator='=', value='gore'))

    Raises:
        SettingsError: it is no condition.
    """
    found = _FILTER.fullmatch(written)
    if found is None:
        raise SettingsError(f"filter {written!r}: expected COLUMN, one of {' '.join(_OPERATORS)}, and a value")
    return Filter(found[1], found[2], found[3].strip())


def view_names(connection: Connection) -> list[str]:
    return list(
        connection.execute(
            text(
                "SELECT relname FROM pg_class WHERE relnamespace = 'reporting'::regnamespace AND relkind IN ('v', 'm') "
                "ORDER BY relname"
            )
        ).scalars()
    )


def view_columns(connection: Connection, view: str) -> list[Column]:
    """The columns of a view, in its order. Raises SettingsError if there is no such view."""
    known = view_names(connection)
    if view not in known:
        raise SettingsError(refusal(f"{view!r} is no view", view, known))
    rows = connection.execute(
        text(
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped "
            "AND attrelid = (SELECT oid FROM pg_class WHERE relname = :view AND "
            "relnamespace = 'reporting'::regnamespace) ORDER BY attnum"
        ),
        {"view": view},
    )
    return [Column(*row) for row in rows]


def read_rows(
    connection: Connection,
    view: str,
    columns: Sequence[Column],
    *,
    filters: Sequence[Filter] = (),
    under: str | None = None,
    restricted: bool = False,
    order: Sequence[str] = (),
) -> Iterator[Sequence[Any]]:
    """The rows in batches. Memory stays flat for any number of rows.

    Args:
        columns: some of `view_columns`.
        under: only videos whose key starts with this.
        restricted: include videos that only some people may see.
        order: names of columns; empty: no order.

    Raises:
        SettingsError: a filter names no column of the view, a column that cannot be compared, or a value of another
            type.
    """
    where = conditions(view_columns(connection, view), view, filters=filters, under=under, restricted=restricted)
    by = f" ORDER BY {', '.join(map(quoted, order))}" if order else ""
    query = text(f"SELECT {listed(columns)} FROM {source(view)}{where.sql}{by}")  # noqa: S608 - names of the catalog
    with explained(filters):
        streamed = {"stream_results": True, "max_row_buffer": _BATCH}
        with connection.execute(query, where.values, execution_options=streamed) as rows:
            yield from rows.partitions(_BATCH)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What rows must meet: a list of SQL conditions, and the values of their parameters."""

    parts: tuple[str, ...]
    values: dict[str, str]

    @property
    def sql(self) -> str:
        """A WHERE clause with a space before it; empty if there are no conditions."""
        return f" WHERE {' AND '.join(self.parts)}" if self.parts else ""


def conditions(
    known: Sequence[Column], view: str, *, filters: Sequence[Filter], under: str | None, restricted: bool
) -> Conditions:
    """The conditions of a query on a view. Arguments and errors as `read_rows`; `known`: all columns of the view."""
    by_name = {column.name: column for column in known}
    parts, values = [], {}
    for number, one in enumerate(filters):
        column = _filtered(one, by_name)
        parts.append(f"{quoted(one.column)} {one.operator} CAST(:value_{number} AS {column.type})")
        values[f"value_{number}"] = one.value
    if under is not None:
        if "uri" not in by_name:
            raise SettingsError(f"the view {view} has no keys of videos: leave out `under`")
        parts.append("starts_with(uri, :under)")
        values["under"] = under
    if not restricted and "restricted" in by_name:
        parts.append("NOT restricted")
    return Conditions(tuple(parts), values)


@contextmanager
def explained(filters: Sequence[Filter]) -> Iterator[None]:
    """Turn a value that Postgres cannot read into a SettingsError that shows the filters."""
    try:
        yield
    except (DataError, ProgrammingError) as error:
        if getattr(error.orig, "sqlstate", None) in _REFUSED:
            raise
        written = ", ".join(f"{one.column}{one.operator}{one.value}" for one in filters)
        raise SettingsError(f"filter {written}: {str(error.orig).splitlines()[0]}") from error


def chosen_columns(written: str | None, known: Sequence[Column]) -> list[Column]:
    """The columns that a list of names means: `uri,prompt`; None: all.

    Raises:
        SettingsError: a name is no column, or there is none.
    """
    if written is None:
        return list(known)
    by_name = {column.name: column for column in known}
    names = list(dict.fromkeys(name.strip() for name in written.split(",") if name.strip()))
    for name in names:
        if name not in by_name:
            raise SettingsError(refusal(f"{name!r} is no column", name, list(by_name)))
    if not names:
        raise SettingsError(f"columns {written!r}: expected names with commas between them")
    return [by_name[name] for name in names]


def listed(columns: Sequence[Column]) -> str:
    """The columns in SQL."""
    return ", ".join(quoted(column.name) for column in columns)


def source(view: str) -> str:
    """A view in SQL. Only for names that `view_columns` accepts."""
    return f"reporting.{quoted(view)}"


def _filtered(one: Filter, known: dict[str, Column]) -> Column:
    column = known.get(one.column)
    if column is None:
        raise SettingsError(refusal(f"filter {one.column!r} is no column", one.column, list(known)))
    if not _COMPARABLE.fullmatch(column.type):
        raise SettingsError(f"filter {one.column!r}: a column of type {column.type} cannot be compared")
    return column


def quoted(name: str) -> str:
    return '"' + quoted_name(name, quote=True).replace('"', '""') + '"'
