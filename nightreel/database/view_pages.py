"""The rows of a view in `reporting` page by page, in the order of a key that tells all its rows apart.

A page starts after the key of the last row of the page before (keyset paging), so the hundredth page costs as much as
the first, and rows that come or go meanwhile move no others. The key travels as a cursor: text that only this module
reads. A cursor of another query is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from nightreel.database.view_rows import (
    Column,
    Filter,
    chosen_columns,
    conditions,
    explained,
    listed,
    quoted,
    source,
    view_columns,
)
from nightreel.database.wide_views import wide_views
from nightreel.errors import SettingsError
from nightreel.suggestions import refusal

KEYS: Mapping[str, tuple[str, ...]] = {
    "videos": ("video_id",),
    "segments": ("segment_id",),
    "answers": ("answer_id", "prompt_id"),
    "answers_all": ("answer_id", "prompt_set", "prompt"),
    "timeline": ("video_id", "start_s", "answer_id", "prompt_id"),
    "video_answers": ("video_id", "prompt_id"),
    "flags": ("video_id", "prompt_id"),
    "tags": ("video_id", "prompt_id", "tag"),
    "coverage": ("day", "prefix", "prompt_set", "prompt"),
    "not_asked": ("video_id", "prompt_set", "prompt"),
    "failures": ("analysis_id",),
    "failed_segments": ("analysis_id", "segment"),
    "runs": ("run_id",),
    "memory": ("model_hash", "device", "stage", "shape", "out_of_memory"),
    "backfills": ("backfill_id",),
    "policies": ("policy_id",),
    "recipes": ("recipe_id",),
    "webhook_deliveries": ("delivery_id",),
    "cases": ("case_id",),
    "decisions": ("decision_id",),
    "audits": ("audit_id",),
    "audit_decisions": ("audit_id", "content_sha256"),
    "agreement": ("decision_id",),
    "reviewer_accuracy": ("reviewer", "prompt_id"),
    "dsa": ("decision_id",),
    "views_seen": ("view_id",),
    "legal_holds": ("hold_id",),
    "erasures": ("erasure_id",),
}
"""The columns that tell the rows of each view apart, in the order of its pages. None of them is ever null."""
_KEY_OF_WIDE = ("video_id",)

_FORMS = {
    "bigint": re.compile(r"-?\d{1,18}"),
    "integer": re.compile(r"-?\d{1,9}"),
    "double precision": re.compile(r"-?\d{1,20}(\.\d{1,20})?(e[+-]?\d{1,3})?"),
    "boolean": re.compile(r"True|False"),
    "date": re.compile(r"\d{4}-\d\d-\d\d"),
    "text": re.compile(r"[^\0\ud800-\udfff]*", re.DOTALL),
}
_LONGEST_CURSOR = 8192
_DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """What a page shows.

    Args:
        columns: names with commas between them; None: all.
        filters, under, restricted: as `view_rows.read_rows`.
        limit: most rows.
        after: the cursor of the page before; None: the first page.
        newest: against the order of the key: the rows that were added last come first.
    """

    view: str
    columns: str | None = None
    filters: tuple[Filter, ...] = ()
    under: str | None = None
    restricted: bool = False
    limit: int = 100
    after: str | None = None
    newest: bool = False

    @property
    def digest(self) -> str:
        """What a cursor is bound to: the rows, not the columns nor the length of a page."""
        shown = [self.view, [[one.column, one.operator, one.value] for one in self.filters], self.under]
        if self.newest:
            shown.append("newest")
        return hashlib.sha256(json.dumps(shown).encode()).digest()[:_DIGEST_BYTES].hex()


@dataclass(frozen=True, slots=True)
class Page:
    """Rows with values in the order of `columns`. `next`: the cursor of the next page; None after the last one."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    next: str | None

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows, each with the names of its columns."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]


def read_page(connection: Connection, query: PageQuery) -> Page:
    """One page of a view.

    Raises:
        SettingsError: there is no such view or column; a filter as in `view_rows.read_rows`; the cursor is of another
            query, or no cursor.
    """
    key_names = _key_of(connection, query.view)
    known = view_columns(connection, query.view)
    chosen = chosen_columns(query.columns, known)
    by_name = {column.name: column for column in known}
    key = [by_name[name] for name in key_names]
    where = conditions(known, query.view, filters=query.filters, under=query.under, restricted=query.restricted)
    parts, values = list(where.parts), dict(where.values)
    if query.after is not None:
        after = _read_cursor(query.after, key, query.digest)
        names = [f"CAST(:after_{number} AS {column.type})" for number, column in enumerate(key)]
        parts.append(f"({listed(key)}) {'<' if query.newest else '>'} ({', '.join(names)})")
        values |= {f"after_{number}": value for number, value in enumerate(after)}
    order = " DESC" if query.newest else ""
    condition = f" WHERE {' AND '.join(parts)}" if parts else ""
    statement = text(
        f"SELECT {listed([*chosen, *key])} FROM {source(query.view)}{condition} "  # noqa: S608 - names of the catalog
        f"ORDER BY {', '.join(quoted(column.name) + order for column in key)} LIMIT {query.limit + 1:d}"
    )
    with explained(query.filters):
        rows = [tuple(row) for row in connection.execute(statement, values)]
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    return Page(
        columns=tuple(chosen),
        rows=tuple(row[: len(chosen)] for row in rows),
        next=_cursor(rows[-1][len(chosen) :], query.digest) if more else None,
    )


def _key_of(connection: Connection, view: str) -> tuple[str, ...]:
    if view in KEYS:
        return KEYS[view]
    wide = wide_views(connection)
    if view not in wide:
        raise SettingsError(refusal(f"{view!r} is no view", view, [*KEYS, *wide]))
    return _KEY_OF_WIDE


def _cursor(key: Sequence[Any], digest: str) -> str:
    data = json.dumps([digest, *map(str, key)]).encode()
    return urlsafe_b64encode(data).decode().rstrip("=")


def _read_cursor(cursor: str, key: Sequence[Column], digest: str) -> list[str]:
    """The values of a cursor.

    >>> _read_cursor(_cursor([7, "gore"], "ab"), [Column("id", "bigint"), Column("prompt", "text")], "ab")
    ['7', 'gore']

    Raises:
        SettingsError: it is none, or of another query.
    """
    try:
        if len(cursor) > _LONGEST_CURSOR:
            raise ValueError
        found = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(found, list) or len(found) != len(key) + 1 or not all(isinstance(one, str) for one in found):
            raise ValueError
        values = found[1:]
        if not all(_FORMS[column.type].fullmatch(value) for column, value in zip(key, values, strict=True)):
            raise ValueError
    except (ValueError, RecursionError, Base64Error) as error:
        raise SettingsError(
            f"cursor {cursor[:40]!r}: expected the `next` of the page before, or none for the first page"
        ) from error
    if found[0] != digest:
        raise SettingsError(
            f"cursor {cursor[:40]!r} belongs to another query: keep view, filters and `under` the same on all pages"
        )
    return values
