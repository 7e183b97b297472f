"""Pages of hits, read by `reporting.search`, which every role may call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, text

from nightreel.errors import SettingsError
from nightreel.search.cursors import Cursor, read_cursor, write_cursor
from nightreel.search.query import SearchQuery
from nightreel.search.snippets import Snippet, cut

_PARAMETERS = {
    "words": "text", "prompt": "text", "verdict": "text", "min_severity": "integer", "min_p": "float8",
    "since": "timestamptz", "until": "timestamptz", "under": "text", "min_duration_s": "float8",
    "max_duration_s": "float8", "from_s": "float8", "to_s": "float8",
    "model": "text", "run": "bigint", "newest": "boolean", "restricted": "boolean",
    "most": "integer", "after_place": "float8", "after_segment": "bigint", "as_of": "bigint",
}  # fmt: skip
_SEARCH = text(
    "SELECT * FROM reporting.search("  # noqa: S608 - names and types from this module
    + ", ".join(f"{name} => CAST(:{name} AS {kind})" for name, kind in _PARAMETERS.items())
    + ")"
)
_READS = text("SELECT reporting.search_reads(:words)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """A segment that has the words.

    Args:
        uri: key of the video. segment: its place in the video. start_s, end_s: its seconds.
        rank: the greater, the better; comparable within one search only.
        prompt: whose answer the snippet is; None if the segment has no text.
        restricted: the video has a verdict that restricts who may see it.
    """

    video_id: int
    uri: str
    segment: int
    start_s: float
    end_s: float
    rank: float
    prompt: str | None
    snippet: Snippet
    restricted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPage:
    """A page of hits.

    Args:
        next: cursor of the next page; None: this is the last one.
        count: segments that have the words. count_is_capped: there are more than these.
    """

    hits: tuple[SearchHit, ...]
    next: str | None
    count: int
    count_is_capped: bool


def search(connection: Connection, query: SearchQuery) -> SearchPage:
    """The hits of a search, the best first, or the newest.

    Restricted videos are left out, unless the filters include them and the role of the connection may see them:
    `nightreel_console` only after `SET LOCAL nightreel.restricted = 'on'`, `nightreel_analyst` never.

    Raises:
        SettingsError: the text has no word, or the cursor is not one of this search.
    """
    after = read_cursor(query)
    words = _storable(query.text)
    rows = connection.execute(_SEARCH, _parameters(query, words, after)).mappings().all()
    if not rows and connection.execute(_READS, {"words": words}).scalar() is None:
        raise SettingsError(f"{query.text!r} has no word to search for: expected letters or digits, without a minus")
    page = rows[: query.limit]
    return SearchPage(
        hits=tuple(map(_hit, page)),
        next=_next(query, page[-1]) if len(rows) > query.limit else None,
        count=rows[0]["count"] if rows else 0,
        count_is_capped=bool(rows) and rows[0]["count_is_capped"],
    )


def _parameters(query: SearchQuery, words: str, after: Cursor | None) -> dict[str, Any]:
    filters = query.filters
    return {
        "words": words,
        "run": filters.run_id,
        "newest": query.newest,
        "most": query.limit + 1,
        "after_place": after and after.place,
        "after_segment": after and after.segment_id,
        "as_of": after and after.newest_segment,
        **{name: getattr(filters, name) for name in _PARAMETERS if hasattr(filters, name)},
    }


def _hit(row: RowMapping) -> SearchHit:
    marks = [(start, end) for start, end in row["marks"] or ()]
    return SearchHit(
        **{name: row[name] for name in ("video_id", "uri", "segment", "start_s", "end_s", "rank")},
        prompt=row["found_in"],
        snippet=cut(row["said"] or "", marks),
        restricted=row["is_restricted"],
    )


def _next(query: SearchQuery, row: RowMapping) -> str:
    cursor = Cursor(place=row["place"], segment_id=row["segment_id"], newest_segment=row["newest_segment"])
    return write_cursor(query, cursor)


def _storable(text: str) -> str:
    """The text with characters that Postgres cannot store as spaces: no stored text has them."""
    return "".join(" " if one == "\x00" or "\ud800" <= one <= "\udfff" else one for one in text)
