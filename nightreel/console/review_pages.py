"""The two pages of review: a case, and the queues. They also say why something was refused, and show the way on.

What a person may do is up to `nightreel.review`. Cases change while people look at them: a lock ends, another tab
decides, somebody is disabled. So whoever is refused sees the case as it is now with a sentence, not a page of an error.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from sqlalchemy import Connection

from nightreel.api.problems import as_problem
from nightreel.console.access import Visitor
from nightreel.console.rendering import is_htmx, render
from nightreel.database.users import list_users
from nightreel.domain.cases import OF_LEADS, STAGES, CaseState, Ruling
from nightreel.errors import SettingsError
from nightreel.review import desk, showing
from nightreel.review.deciding import LONGEST_NOTE
from nightreel.review.disagreeing import said_of_cases
from nightreel.review.exposure import break_is_due
from nightreel.review.refusals import NotFoundError
from nightreel.review.scenes import read_scenes
from nightreel.review.viewing import note_case

REVIEW = "/review"
HOURS = (1, 24, 168)
"""For how long a case can be held."""


def case_path(case_id: int) -> str:
    return f"/cases/{case_id}"


def queues_path(done: str) -> str:
    """The page of queues, for who comes from this one."""
    return f"{REVIEW}?done={quote(done, safe='')}"


def case_page(
    request: Request, visitor: Visitor, case_id: int, *, problem: str | None = None, status: int = 200
) -> Response:
    """The page of a case, or only the case for htmx."""
    user = visitor.user
    blurred, grey = first_look(visitor)
    with visitor.writing() as connection:
        case = showing.show_case(connection, user, case_id)
        scenes = read_scenes(connection, case.findings)
        note_case(connection, user, case, scenes, blurred=blurred)
        said = said_of_cases(connection, user, [case_id]) if user.leads and case.state in OF_LEADS else {}
        people = [one.name for one in list_users(connection) if one.reviews] if user.leads else []
    reply = render(
        request,
        "_review_case.html" if is_htmx(request) else "review_case.html",
        status=status,
        case=case,
        scenes=scenes,
        said=said.get(case_id, []),
        people=people,
        problem=problem,
        waits=case.state in STAGES and (user.leads or case.state not in OF_LEADS),
        is_closed=case.state is CaseState.CLOSED,
        rulings=[one for one in Ruling if one is not Ruling.ESCALATE or case.state not in OF_LEADS],
        hours=HOURS,
        longest=LONGEST_NOTE,
        blurred=blurred,
        grey=grey,
    )
    if is_htmx(request):
        reply.headers["HX-Push-Url"] = case_path(case_id)
    return reply


def queues_page(
    request: Request, visitor: Visitor, *, done: str = "", problem: str | None = None, status: int = 200
) -> Response:
    """The page of all queues; for htmx, which asks for a case, only the problem and the way to them.

    Args:
        done: the queue from which the person comes: why it has no next case, such as a break that is due.
    """
    if is_htmx(request):
        return render(request, "_review_refused.html", status=status, problem=problem)
    with visitor.reading() as connection:
        rest = break_due(connection, visitor) if done else None
        queues = showing.show_queues(connection, visitor.user)
        is_over = rest is None and any(queue.name == done for queue in queues)
        nothing = desk.why_nothing(connection, visitor.user, done) if is_over else None
        mine = showing.show_mine(connection, visitor.user)
    return render(
        request,
        "review.html",
        status=status,
        queues=queues,
        mine=mine,
        nothing=nothing,
        rest=rest,
        minutes=visitor.service.settings.review_break_minutes,
        problem=problem,
    )


def or_why(route: Callable[..., Response]) -> Callable[..., Response]:
    """A route that says why it was refused, on the page of its case, or of the queues if the person may see no case."""

    @wraps(route)
    def answered(request: Request, visitor: Visitor, **values: Any) -> Response:
        try:
            return route(request, visitor, **values)
        except SettingsError as error:
            return _refused(request, visitor, error, values.get("case_id"))

    return answered


def _refused(request: Request, visitor: Visitor, error: SettingsError, case_id: int | None) -> Response:
    status = as_problem(error).status
    if case_id is not None:
        try:
            return case_page(request, visitor, case_id, problem=error.detail, status=status)
        except NotFoundError:
            pass
    return queues_page(request, visitor, problem=error.detail, status=status)


def first_look(visitor: Visitor) -> tuple[bool, bool]:
    """Whether this visitor first sees pictures blurred, and without colours."""
    settings, prefers = visitor.service.settings, visitor.preferences
    return (
        settings.review_blurred if prefers.blurred is None else prefers.blurred,
        settings.review_grey if prefers.grey is None else prefers.grey,
    )


def break_due(connection: Connection, visitor: Visitor) -> int | None:
    """The severe cases after which this visitor should take a break now; None: it is not time."""
    settings = visitor.service.settings
    return break_is_due(
        connection, visitor.user, after=settings.review_break_after, pause_minutes=settings.review_break_minutes
    )
