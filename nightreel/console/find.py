"""Find: words, meanings and filters; every state is an address, which can be saved, shared and exported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field
from sqlalchemy import Connection

from nightreel.api.bodies import Body
from nightreel.api.exports import export_reply
from nightreel.api.pictures import thumbnail_reply
from nightreel.api.problems import Problem, not_found
from nightreel.api.rows import VideoId
from nightreel.console.access import AsViewer
from nightreel.console.fields import Fields, query_of
from nightreel.console.finding import EXPORTED, ON_A_PAGE, FindForm, Lane, exported_hits, find_page, list_query
from nightreel.console.problems import sent_to
from nightreel.console.rendering import is_htmx, render
from nightreel.console.words import mark as _
from nightreel.database.saved_searches import MOST, delete_search, list_searches, save_search
from nightreel.database.view_pages import PageQuery, read_page
from nightreel.database.view_rows import Column, chosen_columns, read_rows, view_columns
from nightreel.review.viewing import Viewed
from nightreel.stages.export import Format

_LARGEST_ID = 2**63 - 1
_LARGEST_INDEX = 2**31 - 1
_MOST_PROMPTS = 1000
QUICK = (
    (_("flagged"), {"verdict": "flagged"}),
    (_("not known"), {"verdict": "unknown"}),
    (_("failed"), {"verdict": "error"}),
    (_("severity 3 and above"), {"min_severity": 3}),
)
"""Filters of one click: their names, and what they set."""


class ExportForm(FindForm):
    """What is on show, and the form of the file."""

    format: Format = Format.CSV


class SearchForm(Body):
    """A search to keep."""

    name: str = Field(min_length=1, max_length=200)
    query: str = Field("", max_length=10_000)
    shared: bool = False


class ThumbnailForm(Body):
    """Which contact sheet of a video. `lane`: restricted videos have theirs in it alone. `of`: what shows it."""

    segment: int = Field(0, ge=0, le=_LARGEST_INDEX)
    lane: Lane = ""
    of: Literal["", "case"] = ""


def add_find(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route("/", _find, methods=["GET"])
    router.add_api_route("/export", _export, methods=["GET"])
    router.add_api_route("/videos/{video_id}/thumbnail", _thumbnail, methods=["GET"])
    router.add_api_route("/searches", _save, methods=["POST"])
    router.add_api_route("/searches/{search_id}/delete", _delete, methods=["POST"])


def _find(request: Request, visitor: AsViewer) -> Response:
    """The page, or its results alone for htmx."""
    form = query_of(request).read(FindForm)
    page = find_page(visitor, form)
    if is_htmx(request):
        reply = render(request, "_found.html", form=form, page=page, chips=_chips(form), quick=_quick(form))
        reply.headers["HX-Push-Url"] = f"/?{form.query(after=form.after)}".rstrip("?")
        return reply
    with visitor.reading(restricted=False) as connection:
        searches = list_searches(connection, visitor.user)
        prompts = _prompts(connection)
    return render(
        request,
        "find.html",
        form=form,
        page=page,
        chips=_chips(form),
        quick=_quick(form),
        searches=searches,
        prompts=prompts,
        formats=list(Format),
    )


def _export(request: Request, visitor: AsViewer) -> Response:
    """All that is on show, as a file: the moments of a search, or the rows of a view."""
    form = query_of(request).read(ExportForm)
    restricted = form.restricted and visitor.user.restricted

    def rows(connection: Connection) -> tuple[Iterator[Sequence[Any]], Sequence[Column]]:
        if form.is_search:
            return exported_hits(visitor, form), EXPORTED
        query = list_query(form, restricted=restricted, limit=ON_A_PAGE)
        columns = chosen_columns(None, view_columns(connection, query.view))
        found = read_rows(
            connection, query.view, columns, filters=query.filters, under=query.under, restricted=restricted
        )
        return found, columns

    return export_reply(visitor.service, rows, name="found", form=form.format, restricted=restricted)


def _thumbnail(request: Request, visitor: AsViewer, video_id: VideoId) -> Response:
    """The contact sheet of a segment.

    One of a case may be on show later only: the page of the case notes when it is. Pages of the lane first hide theirs.
    """
    given = query_of(request).read(ThumbnailForm)
    restricted = bool(given.lane) and visitor.user.restricted
    return thumbnail_reply(
        visitor.service,
        visitor.user.id,
        video_id,
        given.segment,
        restricted=restricted,
        viewed=Viewed.SHEET_SENT if given.of else Viewed.CONTACT_SHEET,
        blurred=None if given.of else restricted,
    )


def _save(request: Request, visitor: AsViewer) -> Response:
    """Keep a search under a name."""
    given = visitor.form.read(SearchForm)
    query = Fields(parse_qs(given.query)).read(FindForm).query()
    with visitor.writing() as connection:
        kept = save_search(connection, visitor.user, given.name.strip(), query, shared=given.shared)
    if not kept:
        raise Problem(422, f"you keep {MOST} searches: delete one first")
    return sent_to(request, f"/?{query}")


def _delete(request: Request, visitor: AsViewer, search_id: Annotated[int, Path(ge=1, le=_LARGEST_ID)]) -> Response:
    """Delete an own search."""
    with visitor.writing() as connection:
        deleted = delete_search(connection, visitor.user, search_id)
    if not deleted:
        raise not_found(f"you keep no search {search_id}")
    return sent_to(request, "/")


def _prompts(connection: Connection) -> list[str]:
    """The prompts whose policies are in force, as set/name."""
    found = read_page(connection, PageQuery(view="policies", columns="prompt_set,prompt", limit=_MOST_PROMPTS))
    return sorted({f"{row['prompt_set']}/{row['prompt']}" for row in found.records})


def _chips(form: FindForm) -> list[tuple[str, str, str]]:
    """The filters in use that are not of one click: name, value, and the query without it."""
    named = {
        "like": _("looks like"),
        "prompt": _("prompt"),
        "verdict": _("verdict"),
        "min_severity": _("severity at least"),
        "min_p": _("p at least"),
        "under": _("key starts with"),
        "since": _("modified since"),
        "until": _("modified before"),
        "lane": _("lane"),
    }
    quick = {field for _name, sets in QUICK for field, value in sets.items() if getattr(form, field) == value}
    values = {name: getattr(form, name) for name in named if name not in quick}
    return [(named[name], str(value), form.query(**{name: None})) for name, value in values.items() if value]


def _quick(form: FindForm) -> list[tuple[str, str, bool]]:
    """Filters of one click: name, query with it or without it, and whether it is in use."""
    found = []
    for name, sets in QUICK:
        is_used = all(getattr(form, field) == value for field, value in sets.items())
        changes: dict[str, Any] = dict.fromkeys(sets) if is_used else sets
        found.append((name, form.query(**changes), is_used))
    return found
