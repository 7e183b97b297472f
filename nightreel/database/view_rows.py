"""The rows of a view in `reporting`, as a stream: any view, with filters on any of its columns.

Names of views and columns are those of the catalog. Values of filters are parameters, cast to the column's type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
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
        raise SettingsError(f"--filter {written!r}: expected COLUMN, one of {' '.join(_OPERATORS)}, and a value")
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
    known = {column.name: column for column in view_columns(connection, view)}
    conditions, values = [], {}
    for number, one in enumerate(filters):
        column = _filtered(one, known)
        conditions.append(f"{_quoted(one.column)} {one.operator} CAST(:value_{number} AS {column.type})")
        values[f"value_{number}"] = one.value
    if under is not None:
        if "uri" not in known:
            raise SettingsError(f"the view {view} has no keys of videos: leave out --under")
        conditions.append("starts_with(uri, :under)")
        values["under"] = under
    if not restricted and "restricted" in known:
        conditions.append("NOT restricted")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    names = ", ".join(_quoted(column.name) for column in columns)
    by = f" ORDER BY {', '.join(map(_quoted, order))}" if order else ""
    query = text(f"SELECT {names} FROM reporting.{_quoted(view)}{where}{by}")  # noqa: S608 - names of the catalog
    try:
        rows = connection.execution_options(stream_results=True, yield_per=_BATCH).execute(query, values)
        yield from (list(batch) for batch in rows.partitions())
    except (DataError, ProgrammingError) as error:
        written = ", ".join(f"{one.column}{one.operator}{one.value}" for one in filters)
        raise SettingsError(f"--filter {written}: {str(error.orig).splitlines()[0]}") from error


def _filtered(one: Filter, known: dict[str, Column]) -> Column:
    column = known.get(one.column)
    if column is None:
        raise SettingsError(refusal(f"--filter {one.column!r} is no column", one.column, list(known)))
    if not _COMPARABLE.fullmatch(column.type):
        raise SettingsError(f"--filter {one.column!r}: a column of type {column.type} cannot be compared")
    return column


def _quoted(name: str) -> str:
    return '"' + quoted_name(name, quote=True).replace('"', '""') + '"'
