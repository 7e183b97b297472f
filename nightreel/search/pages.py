"""Pages of hits: by words, which `reporting.search` finds and every role may call it, by meaning, or by both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, text

from nightreel.errors import SettingsError
from nightreel.search.cursors import Cursor, read_cursor, write_cursor
from nightreel.search.fusion import fuse
from nightreel.search.meaning import MOST_RANKED, TextVector, nearest
from nightreel.search.query import SearchBy, SearchQuery
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
    """A segment that was found.

    Args:
        uri: key of the video. segment: its place in the video. start_s, end_s: its seconds.
        rank: the greater, the better; comparable within one search only. By meaning, the cosine.
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
        count: segments that were found. count_is_capped: there are more than these.
    """

    hits: tuple[SearchHit, ...]
    next: str | None
    count: int
    count_is_capped: bool


def search(connection: Connection, query: SearchQuery, *, vector: TextVector | None = None) -> SearchPage:
    """The hits of a search, the best first, or the newest.

    Restricted videos are left out, unless the filters include them and the role of the connection may see them:
    `nightreel_console` only after `SET LOCAL nightreel.restricted = 'on'`, `nightreel_analyst` never.

    By meaning, only the nearest `MOST_RANKED` segments are ranked, and pages end after them; by both, as many of each.

    Args:
        vector: of the text; needed by meaning and by both.

    Raises:
        SettingsError: the text has no word, the cursor is not one of this search, or there is no search by meaning.
    """
    after = read_cursor(query)
    if query.by is SearchBy.WORDS:
        return _by_words(connection, query, after)
    as_of = after.newest_segment if after else None
    words: Sequence[RowMapping] = ()
    if query.by is SearchBy.BOTH:
        words = _found_by_words(connection, query, None, most=MOST_RANKED, as_of=as_of)
        as_of = words[0]["newest_segment"] if words else as_of
    near = nearest(connection, query, vector, as_of=as_of)
    ranked = [(row, row["likeness"]) for row in near]
    if query.by is SearchBy.BOTH:
        rows = {row["segment_id"]: row for row in (*near, *words)}  # a hit by words has marks
        found = fuse([[row["segment_id"] for row in one] for one in (words, near)])
        ranked = [(rows[segment_id], score) for segment_id, score in found]
    ranked.sort(key=lambda pair: (-pair[1], pair[0]["segment_id"]))
    left = [(row, rank) for row, rank in ranked if after is None or _is_after(after, rank, row["segment_id"])]
    page = left[: query.limit]
    more = None
    if len(left) > query.limit:
        row, rank = page[-1]
        more = write_cursor(query, Cursor(rank, row["segment_id"], row["newest_segment"]))
    return SearchPage(
        hits=tuple(_hit(row, rank) for row, rank in page),
        next=more,
        count=len(ranked),
        count_is_capped=len(near) == MOST_RANKED,
    )


def _by_words(connection: Connection, query: SearchQuery, after: Cursor | None) -> SearchPage:
    as_of = after.newest_segment if after else None
    rows = _found_by_words(connection, query, after, most=query.limit + 1, as_of=as_of)
    words = {"words": _storable(query.text)}
    if not rows and connection.execute(_READS, words).scalar() is None:
        raise SettingsError(f"{query.text!r} has no word to search for: expected letters or digits, without a minus")
    page = rows[: query.limit]
    more = None
    if len(rows) > query.limit:
        row = page[-1]
        more = write_cursor(query, Cursor(row["place"], row["segment_id"], row["newest_segment"]))
    return SearchPage(
        hits=tuple(_hit(row, row["rank"]) for row in page),
        next=more,
        count=rows[0]["count"] if rows else 0,
        count_is_capped=bool(rows) and rows[0]["count_is_capped"],
    )


def _found_by_words(
    connection: Connection, query: SearchQuery, after: Cursor | None, *, most: int, as_of: int | None
) -> Sequence[RowMapping]:
    parameters = {
        "words": _storable(query.text),
        "newest": query.newest,
        "most": most,
        "after_place": after and after.place,
        "after_segment": after and after.segment_id,
        "as_of": as_of,
    }
    return connection.execute(_SEARCH, parameters | query.filters.parameters()).mappings().all()


def _is_after(cursor: Cursor, rank: float, segment_id: int) -> bool:
    return rank < cursor.place or (rank == cursor.place and segment_id > cursor.segment_id)


def _hit(row: RowMapping, rank: float) -> SearchHit:
    marks = [(start, end) for start, end in row.get("marks") or ()]
    return SearchHit(
        **{name: row[name] for name in ("video_id", "uri", "segment", "start_s", "end_s")},
        rank=rank,
        prompt=row["found_in"],
        snippet=cut(row["said"] or "", marks),
        restricted=row["is_restricted"],
    )


def _storable(text: str) -> str:
    """The text with characters that Postgres cannot store as spaces: no stored text has them."""
    return "".join(" " if one == "\x00" or "\ud800" <= one <= "\udfff" else one for one in text)
