"""Pages of the views of `reporting`: one route for each view, one for the wide views, and one for a single video."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy import Connection

from nightreel.api.access import Caller, needs
from nightreel.api.problems import described, not_found
from nightreel.api.reading import reading
from nightreel.api.replies import json_reply
from nightreel.api.service import service_of
from nightreel.database.view_pages import KEYS, PageQuery, read_page
from nightreel.database.view_rows import Filter, parse_filter, view_columns
from nightreel.database.wide_views import WIDE, wide_view, wide_views
from nightreel.domain.tokens import Scope
from nightreel.errors import SettingsError
from nightreel.suggestions import refusal

MOST_ROWS = 1000
_MOST_FILTERS = 20
_LARGEST_ID = 2**63 - 1

VIEWS: Mapping[str, str] = {"verdicts": "video_answers"} | {view: view for view in KEYS if view != "video_answers"}
"""The view that each path shows."""

_ABOUT = {
    "videos": "Videos, each with its newest analysis.",
    "segments": "Segments of videos, with the times of their sampled frames.",
    "answers": "Answers on show: one for each segment and prompt.",
    "answers_all": "All answers that were ever given.",
    "timeline": "What was found in a video, in the order of time.",
    "verdicts": "What the answers of its segments say about each video.",
    "flags": "What crossed a line, and what could not be judged.",
    "tags": "Tags and choices of videos.",
    "coverage": "What was asked of how many videos.",
    "not_asked": "Videos that a prompt was never asked of.",
    "failures": "Videos that could not be analysed.",
    "failed_segments": "Segments that could not be analysed.",
    "runs": "Runs and their counts.",
    "memory": "Memory of batches.",
    "backfills": "Backfills and their progress.",
    "policies": "Policies of prompts.",
    "recipes": "Models, sampling plans and prompts.",
    "cases": "What people judge: one content in one queue.",
    "decisions": "What people decided, with pseudonyms.",
    "audits": "Random samples of what the machine says, with what people decided of them.",
    "audit_decisions": "What people decided of the items of audits.",
    "agreement": "What two people said of the same label.",
    "reviewer_accuracy": "How often reviewers are right about golden items.",
    "dsa": "Confirmed labels as statements of reasons, in the form of the DSA Transparency Database.",
    "views_seen": "Who saw what, with pseudonyms.",
    "legal_holds": "What must not be erased.",
    "erasures": "What was erased: when, by whom and how much.",
    "webhook_deliveries": "Events for webhooks, and what became of them.",
}

Written = Annotated[str, StringConstraints(max_length=1000)]
VideoId = Annotated[int, Path(ge=1, le=_LARGEST_ID, description="`video_id` of the views")]
Filters = Annotated[
    list[Written] | None,
    Query(
        alias="filter",
        max_length=_MOST_FILTERS,
        description="a condition on a column: prompt=gore, severity>=3; repeatable",
    ),
]
Columns = Annotated[Written | None, Query(description="only these columns: uri,prompt,answer")]
Under = Annotated[Written | None, Query(description="only videos whose key starts with this")]
MayRead = Annotated[Caller, Depends(needs(Scope.READ))]


class ColumnShape(BaseModel):
    """A column and its type in Postgres."""

    name: str
    type: str


class PageShape(BaseModel):
    """A page of rows."""

    columns: list[ColumnShape]
    rows: list[dict[str, Any]]
    next: str | None = Field(description="`after` of the next page; null on the last one")


class ViewsShape(BaseModel):
    """The columns of each view, by its path."""

    views: dict[str, list[ColumnShape]]


class VideoShape(BaseModel):
    """A row of `videos`."""

    video: dict[str, Any]


def parse_filters(written: list[str] | None) -> tuple[Filter, ...]:
    return tuple(parse_filter(one) for one in written or ())


def add_rows(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route(
        "/views",
        _views,
        response_model=ViewsShape,
        operation_id="list_views",
        responses=described(401, 403, 422, 429),
    )
    for path in VIEWS:
        router.add_api_route(
            f"/{path}",
            _page_of(path),
            response_model=PageShape,
            operation_id=f"list_{path}",
            summary=_ABOUT[path],
            responses=described(400, 401, 403, 422, 429),
        )
    router.add_api_route(
        f"/{WIDE}{{prompt_set}}",
        _wide_page,
        response_model=PageShape,
        operation_id="list_wide",
        responses=described(400, 401, 403, 404, 422, 429),
    )
    router.add_api_route(
        "/videos/{video_id}",
        _video,
        response_model=VideoShape,
        operation_id="get_video",
        responses=described(401, 403, 404, 422, 429),
    )


def _views(request: Request, caller: MayRead) -> Response:
    """The views, and their columns."""
    with reading(service_of(request).database, restricted=caller.restricted) as connection:
        views = {path: _columns(connection, find_view(connection, path)) for path in [*VIEWS, *wide_views(connection)]}
    return json_reply(request, {"views": views})


def _columns(connection: Connection, view: str) -> list[dict[str, str]]:
    return [{"name": column.name, "type": column.type} for column in view_columns(connection, view)]


def find_view(connection: Connection, path: str) -> str:
    """The view that a path shows. Raises Problem 404 if it shows none."""
    if path in VIEWS:
        return VIEWS[path]
    wide = wide_views(connection)
    if path not in wide:
        raise not_found(refusal(f"{path!r} is no view", path, [*VIEWS, *wide]))
    return path


@dataclass(frozen=True, slots=True)
class _Asked:
    """The parameters of a page."""

    filters: Filters = None
    columns: Columns = None
    under: Under = None
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS, description="most rows of a page")] = 100
    after: Annotated[str | None, Query(max_length=10_000, description="`next` of the page before")] = None


Asked = Annotated[_Asked, Depends()]


def _page_of(path: str) -> Callable[..., Response]:
    def page(request: Request, caller: MayRead, asked: Asked) -> Response:
        return _page(request, caller, asked, path)

    return page


def _wide_page(
    request: Request,
    caller: MayRead,
    asked: Asked,
    prompt_set: Annotated[str, Path(max_length=100, description="name of a prompt set")],
) -> Response:
    """Videos with a column for each prompt of a set that is asked now."""
    return _page(request, caller, asked, wide_view(prompt_set))


def _page(request: Request, caller: Caller, asked: _Asked, path: str) -> Response:
    filters = parse_filters(asked.filters)
    with reading(service_of(request).database, restricted=caller.restricted) as connection:
        query = PageQuery(
            view=find_view(connection, path),
            columns=asked.columns,
            filters=filters,
            under=asked.under,
            restricted=caller.restricted,
            limit=asked.limit,
            after=asked.after,
        )
        found = read_page(connection, query)
    shown = [{"name": column.name, "type": column.type} for column in found.columns]
    return json_reply(request, {"columns": shown, "rows": found.records, "next": found.next})


def _video(request: Request, caller: MayRead, video_id: VideoId) -> Response:
    """One video."""
    with reading(service_of(request).database, restricted=caller.restricted) as connection:
        video = find_video(connection, video_id, restricted=caller.restricted)
    return json_reply(request, {"video": video})


def find_video(connection: Connection, video_id: int, *, restricted: bool) -> dict[str, Any]:
    """The row of a video that the caller may see.

    Args:
        restricted: the caller may see restricted videos.

    Raises:
        Problem: 404. It says the same whether the video does not exist or may not be seen.
    """
    query = PageQuery(view="videos", filters=(Filter("video_id", "=", str(video_id)),), restricted=restricted, limit=1)
    try:
        found = read_page(connection, query)
    except SettingsError as error:
        raise not_found(error.detail) from error
    if not found.rows:
        raise not_found(f"no video {video_id}, or none that you may see")
    return found.records[0]
