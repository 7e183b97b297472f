"""GET /search: the segments whose texts have words, or whose frames show what they mean."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from nightreel.api.problems import Problem, described
from nightreel.api.reading import reading
from nightreel.api.replies import json_reply
from nightreel.api.rows import MayRead, Under, Written
from nightreel.api.service import Service, service_of
from nightreel.search import SearchBy, SearchFilters, SearchHit, SearchPage, SearchQuery, search

_MOST_HITS = 200
_LARGEST_ID = 2**63 - 1
_LARGEST_INDEX = 2**31 - 1
_Seconds = Annotated[float | None, Query(ge=0, allow_inf_nan=False)]


class HitShape(BaseModel):
    """A segment that was found."""

    video_id: int
    uri: str
    segment: int
    start_s: float
    end_s: float
    rank: float = Field(description="the greater, the better; comparable within one search")
    prompt: str | None = Field(description="whose answer `text` is")
    text: str = Field(description="the part of it around the words")
    marks: list[tuple[int, int]] = Field(description="the words in `text`: first character, and the one after the last")


class HitsShape(BaseModel):
    """A page of hits."""

    hits: list[HitShape]
    next: str | None = Field(description="`after` of the next page; null on the last one")
    count: int
    count_is_capped: bool = Field(description="there are more than `count`")


def add_search(router: APIRouter) -> None:
    """Add the route."""
    router.add_api_route(
        "/search",
        _search,
        response_model=HitsShape,
        operation_id="search",
        responses=described(400, 401, 403, 422, 429),
    )


def find_moments(service: Service, query: SearchQuery, *, restricted: bool) -> SearchPage:
    """A page of hits. Arguments and errors as `reading` and `search`."""
    vector = None
    if query.by is not SearchBy.WORDS and query.like is None:
        with reading(service.database, restricted=False) as connection:
            vector = service.texts.vector(connection, query.text)
    with reading(service.database, restricted=restricted) as connection:
        return search(connection, query, vector=vector)


def _search(
    request: Request,
    caller: MayRead,
    q: Annotated[
        Written | None, Query(description='words, all wanted: red van, "in a row", van OR truck, -night, bicyc*')
    ] = None,
    by: Annotated[
        SearchBy, Query(description="compare the text with words of answers, by its meaning with the frames, or both")
    ] = SearchBy.WORDS,
    like_video: Annotated[
        int | None, Query(ge=0, le=_LARGEST_ID, description="instead of `q`: what looks like a segment of this video")
    ] = None,
    like_segment: Annotated[int, Query(ge=0, le=_LARGEST_INDEX, description="number of that segment")] = 0,
    prompt: Written | None = None,
    verdict: Annotated[Written | None, Query(description="yes, no, a tag, a choice, flagged, unknown, error")] = None,
    min_severity: Annotated[int | None, Query(ge=1, le=4)] = None,
    min_p: Annotated[float | None, Query(ge=0, le=1)] = None,
    model: Written | None = None,
    run_id: Annotated[int | None, Query(ge=1, le=_LARGEST_ID)] = None,
    since: Annotated[datetime | None, Query(description="objects modified since; UTC without an offset")] = None,
    until: datetime | None = None,
    under: Under = None,
    min_duration_s: _Seconds = None,
    max_duration_s: _Seconds = None,
    from_s: Annotated[_Seconds, Query(description="only segments with a part after this second of the video")] = None,
    to_s: Annotated[_Seconds, Query(description="only segments with a part before this second of the video")] = None,
    newest: Annotated[bool, Query(description="the newest videos first, not the best hits")] = False,
    limit: Annotated[int, Query(ge=1, le=_MOST_HITS)] = 20,
    after: Annotated[str | None, Query(max_length=2000, description="`next` of the page before")] = None,
) -> Response:
    """Find the moments whose captions, texts, tags or choices have words, or whose frames look like a description."""
    if (q is None) == (like_video is None):
        raise Problem(422, "expected q, or like_video for a segment instead")
    filters = SearchFilters(
        prompt=prompt,
        verdict=verdict,
        min_severity=min_severity,
        min_p=min_p,
        model=model,
        run_id=run_id,
        since=since,
        until=until,
        under=under,
        min_duration_s=min_duration_s,
        max_duration_s=max_duration_s,
        from_s=from_s,
        to_s=to_s,
        restricted=caller.restricted,
    )
    query = SearchQuery(
        text=q or "",
        by=by if like_video is None else SearchBy.MEANING,
        like=None if like_video is None else (like_video, like_segment),
        filters=filters,
        newest=newest,
        limit=limit,
        after=after,
    )
    page = find_moments(service_of(request), query, restricted=caller.restricted)
    found = {
        "hits": [_values(hit) for hit in page.hits],
        "next": page.next,
        "count": page.count,
        "count_is_capped": page.count_is_capped,
    }
    return json_reply(request, found)


def _values(hit: SearchHit) -> dict[str, Any]:
    names = ("video_id", "uri", "segment", "start_s", "end_s", "rank", "prompt")
    return {name: getattr(hit, name) for name in names} | {"text": hit.snippet.text, "marks": hit.snippet.marks}
