"""What Find shows: moments that have words or look like something, what was judged in some way, or all videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import Field
from sqlalchemy import Connection

from nightreel.api.bodies import Body
from nightreel.api.finding import find_moments
from nightreel.api.problems import Problem
from nightreel.console.access import Visitor
from nightreel.database.statements import statement
from nightreel.database.view_pages import PageQuery, read_page
from nightreel.database.view_rows import Column, Filter
from nightreel.domain import VerdictState
from nightreel.search import SearchBy, SearchFilters, SearchHit, SearchQuery
from nightreel.search.query import MOST_CHARACTERS

ON_A_PAGE = 48
RESTRICTED = "restricted"
_MOST_EXPORTED = 1000
_Short = Annotated[str, Field(max_length=1000)]
Lane = Literal["", "restricted"]


class FindForm(Body):
    """What is looked for: the query of the address of Find, and of a saved search.

    `like`: id of a video, a colon, and number of its segment. `verdict`: as `SearchFilters`. `after`: cursor of the
    page before.
    """

    q: str = Field("", max_length=MOST_CHARACTERS)
    by: SearchBy = SearchBy.WORDS
    like: str | None = Field(None, pattern=r"^\d{1,18}:\d{1,9}$")
    prompt: _Short | None = None
    verdict: _Short | None = None
    min_severity: int | None = Field(None, ge=1, le=4)
    min_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    under: _Short | None = None
    since: date | None = None
    until: date | None = None
    newest: bool = False
    view: Literal["grid", "table"] = "grid"
    lane: Lane = ""
    after: str | None = Field(None, max_length=10_000)

    def query(self, **changes: Any) -> str:
        """The query of the address with these changes, from the first page on. None and defaults are left out.

        >>> FindForm(q="red van", min_severity=3, after="x").query(view="table")
        'q=red+van&min_severity=3&view=table'
        """
        changed = {"after": None} | changes
        values = {name: changed.get(name, getattr(self, name)) for name in FindForm.model_fields}
        fields = FindForm.model_fields
        return urlencode(
            {name: _written(value) for name, value in values.items() if value not in (None, fields[name].default)}
        )

    @property
    def is_search(self) -> bool:
        return bool(self.q.strip() or self.like)

    @property
    def restricted(self) -> bool:
        return self.lane == RESTRICTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A part of a video that was found.

    Args:
        text: what was found, in pieces: each with whether it is one of the words. has_picture: the segment was
            analysed. flags: of the video.
    """

    video_id: int
    uri: str
    segment: int
    start_s: float
    end_s: float
    prompt: str | None
    text: tuple[tuple[str, bool], ...]
    restricted: bool
    has_picture: bool = True
    flags: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPage:
    """A page of moments. `count`: of a search, how many there are; `more`: at least so many."""

    moments: list[Moment]
    next: str | None
    count: int | None = None
    more: bool = False


def find_page(visitor: Visitor, form: FindForm) -> FoundPage:
    """A page of what the form asks for.

    Raises:
        Problem: a combination that nothing can answer.
        NightreelError: as `find_moments` and `read_page`.
    """
    page = _page(visitor, form, limit=ON_A_PAGE)
    with visitor.reading(restricted=form.restricted) as connection:
        add_flags(connection, page.moments)
    return page


def list_query(form: FindForm, *, restricted: bool, limit: int) -> PageQuery:
    """The page of a view that shows what a form without words asks for. Raises Problem 422 if no view has it."""
    filters: list[Filter] = []
    if form.since:
        filters.append(Filter("modified_at", ">=", _start(form.since).isoformat()))
    if form.until:
        filters.append(Filter("modified_at", "<", _start(form.until).isoformat()))
    judged = _judged(form)
    if judged and filters:
        raise Problem(422, "days and verdicts together need words: write some into the box, or leave one of them out")
    return PageQuery(
        view="timeline" if judged else "videos",
        filters=(*filters, *judged),
        under=form.under,
        restricted=restricted,
        limit=limit,
        after=form.after,
        newest=True,
    )


def add_flags(connection: Connection, moments: Sequence[Moment]) -> None:
    """Add the flags of their videos to moments."""
    by_video: dict[int, list[dict[str, Any]]] = {}
    ids = {"video_ids": sorted({moment.video_id for moment in moments})}
    for row in connection.execute(statement("flags_of_videos"), ids).mappings():
        by_video.setdefault(row["video_id"], []).append(dict(row))
    for moment in moments:
        moment.flags.extend(by_video.get(moment.video_id, []))


EXPORTED = tuple(
    Column(name, kind)
    for name, kind in {
        "video_id": "bigint",
        "uri": "text",
        "segment": "integer",
        "start_s": "double precision",
        "end_s": "double precision",
        "prompt": "text",
        "text": "text",
    }.items()
)


def exported_hits(visitor: Visitor, form: FindForm) -> Iterator[list[list[Any]]]:
    """All moments of a search, in batches, with the columns `EXPORTED`."""
    while True:
        page = _page(visitor, form, limit=_MOST_EXPORTED)
        yield [
            [
                one.video_id,
                one.uri,
                one.segment,
                one.start_s,
                one.end_s,
                one.prompt,
                "".join(part for part, _ in one.text),
            ]
            for one in page.moments
        ]
        if page.next is None:
            return
        form = form.model_copy(update={"after": page.next})


def _page(visitor: Visitor, form: FindForm, *, limit: int) -> FoundPage:
    """A page without the flags of its videos."""
    restricted = form.restricted and visitor.user.restricted
    if form.is_search:
        query = _search_query(form, restricted=restricted, limit=limit)
        found = find_moments(visitor.service, query, restricted=restricted)
        moments = [_of_hit(hit) for hit in found.hits]
        return FoundPage(moments=moments, next=found.next, count=found.count, more=found.count_is_capped)
    with visitor.reading(restricted=restricted) as connection:
        listed = read_page(connection, list_query(form, restricted=restricted, limit=limit))
    return FoundPage(moments=[_of_row(row) for row in listed.records], next=listed.next)


def _search_query(form: FindForm, *, restricted: bool, limit: int) -> SearchQuery:
    like = None
    if form.like:
        video, _, segment = form.like.partition(":")
        like = int(video), int(segment)
    filters = SearchFilters(
        prompt=form.prompt,
        verdict=form.verdict,
        min_severity=form.min_severity,
        min_p=form.min_p,
        under=form.under,
        since=_start(form.since) if form.since else None,
        until=_start(form.until) if form.until else None,
        restricted=restricted,
    )
    return SearchQuery(
        text="" if like else form.q,
        by=SearchBy.MEANING if like else form.by,
        like=like,
        filters=filters,
        newest=form.newest and form.by is SearchBy.WORDS and like is None,
        limit=limit,
        after=form.after,
    )


def _judged(form: FindForm) -> list[Filter]:
    """The conditions on a verdict, for the view `timeline`."""
    filters = []
    if form.prompt:
        set_name, _, name = form.prompt.rpartition("/")
        filters += [Filter("prompt_set", "=", set_name)] if set_name else []
        filters.append(Filter("prompt", "=", name))
    if form.verdict == "flagged":
        filters.append(Filter("flagged", "=", "true"))
    elif form.verdict in (VerdictState.UNKNOWN, VerdictState.ERROR):
        filters.append(Filter("state", "=", form.verdict))
    elif form.verdict:
        filters.append(Filter("answer", "=", form.verdict))
    if form.min_severity is not None:
        filters.append(Filter("severity", ">=", str(form.min_severity)))
    if form.min_p is not None:
        filters.append(Filter("p", ">=", str(form.min_p)))
    return filters


def _of_hit(hit: SearchHit) -> Moment:
    pieces, at = [], 0
    for start, end in hit.snippet.marks:
        pieces += [(hit.snippet.text[at:start], False), (hit.snippet.text[start:end], True)]
        at = end
    pieces.append((hit.snippet.text[at:], False))
    return Moment(
        **{
            name: getattr(hit, name)
            for name in ("video_id", "uri", "segment", "start_s", "end_s", "prompt", "restricted")
        },
        text=tuple(pieces),
    )


def _of_row(row: dict[str, Any]) -> Moment:
    """A row of `timeline` or of `videos`."""
    return Moment(
        video_id=row["video_id"],
        uri=row["uri"],
        segment=row.get("segment") or 0,
        start_s=row.get("start_s") or 0.0,
        end_s=row["end_s"] if "end_s" in row else row["duration_s"] or 0.0,
        prompt=row.get("prompt"),
        text=((str(row["answer"] if "answer" in row else row["detail"] or ""), False),),
        restricted=row["restricted"],
        has_picture="segment" in row or bool(row["segments"]),
    )


def _start(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
