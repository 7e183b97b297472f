"""A case in the console: look at it, decide it, pass it on.

What a person may do is up to `nightreel.review`. Who decides a case sees the next one of its queue.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field
from sqlalchemy import Connection

from nightreel.api.bodies import Body
from nightreel.api.problems import Problem
from nightreel.console.access import AsReviewer, Visitor
from nightreel.console.fields import Fields
from nightreel.console.problems import sent_to
from nightreel.console.rendering import is_htmx, render
from nightreel.console.review_pages import REVIEW, break_due, case_page, case_path, or_why, queues_path
from nightreel.database.users import find_user
from nightreel.domain.cases import Ruling
from nightreel.domain.users import User
from nightreel.review import deciding, desk
from nightreel.review.deciding import LONGEST_NOTE, NewRuling
from nightreel.review.history import read_history
from nightreel.review.refusals import ConflictError, NotAllowedError, NotFoundError
from nightreel.review.scenes import read_scenes
from nightreel.review.showing import show_case
from nightreel.review.viewing import note_sheets

_RULING = re.compile(r"ruling:([0-9]{1,18}):(.*)", re.DOTALL)
CaseId = Annotated[int, Path(ge=1, le=2**63 - 1)]
Operation = Callable[[Connection, User, int], None]


class DecisionForm(Body):
    """What the form of a case sends beside a ruling for each label."""

    version: int = Field(ge=0, le=2**31 - 1)
    note: str = Field("", max_length=LONGEST_NOTE)


class HoldForm(Body):
    """For how long nobody gets the case."""

    hours: int = Field(ge=1, le=24 * 365)


class AssignForm(Body):
    """The name of the person for whom the case is kept; none: nobody."""

    to: str = Field("", max_length=200)


class AppealForm(Body):
    """Why a closed case is reopened."""

    reason: str = Field(max_length=LONGEST_NOTE)


def add_cases(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route("/cases/{case_id}", or_why(_case), methods=["GET"])
    router.add_api_route("/cases/{case_id}/history", _history, methods=["GET"])
    router.add_api_route("/cases/{case_id}/unblurred", _unblurred, methods=["POST"])
    router.add_api_route("/cases/{case_id}/decide", or_why(_decide), methods=["POST"])
    router.add_api_route("/cases/{case_id}/take", or_why(_changed(desk.take_case)), methods=["POST"])
    router.add_api_route("/cases/{case_id}/extend", or_why(_changed(desk.extend)), methods=["POST"])
    router.add_api_route("/cases/{case_id}/release", or_why(_changed(desk.release, leaves=True)), methods=["POST"])
    router.add_api_route("/cases/{case_id}/skip", or_why(_changed(desk.skip, leaves=True)), methods=["POST"])
    router.add_api_route("/cases/{case_id}/hold", or_why(_hold), methods=["POST"])
    router.add_api_route("/cases/{case_id}/assign", or_why(_assign), methods=["POST"])
    router.add_api_route("/cases/{case_id}/appeal", or_why(_appeal), methods=["POST"])


def _case(request: Request, visitor: AsReviewer, case_id: CaseId) -> Response:
    return case_page(request, visitor, case_id)


def _history(request: Request, visitor: AsReviewer, case_id: CaseId) -> Response:
    with visitor.writing() as connection:
        entries = read_history(connection, visitor.user, case_id)
    return render(request, "_review_history.html", entries=entries, case_id=case_id)


def _unblurred(visitor: AsReviewer, case_id: CaseId) -> Response:
    """The person asks to see the pictures of a case as they are: the page shows them so after this reply."""
    with visitor.writing() as connection:
        case = show_case(connection, visitor.user, case_id)
        scenes = read_scenes(connection, case.findings)
        note_sheets(connection, visitor.user, case, scenes, blurred=False)
    return Response(status_code=204)


def _decide(request: Request, visitor: AsReviewer, case_id: CaseId) -> Response:
    """Decide a case, then show the next one of its queue."""
    rest = {name: values for name, values in visitor.form.values.items() if not name.startswith("ruling:")}
    given = Fields(rest).read(DecisionForm)
    rulings = list(_rulings(visitor.form, given.note))
    with visitor.writing() as connection:
        decided = deciding.decide(connection, visitor.user, case_id, version=given.version, rulings=rulings)
        following = _take_following(connection, visitor, decided.queue)
    if following is None:
        return sent_to(request, queues_path(decided.queue))
    return case_page(request, visitor, following) if is_htmx(request) else sent_to(request, case_path(following))


def _take_following(connection: Connection, visitor: Visitor, queue: str) -> int | None:
    """Take the next case of a queue; None: there is none, it is time for a break, or the person works it no more."""
    if break_due(connection, visitor) is not None:
        return None
    try:
        return desk.take_next(connection, visitor.user, queue)
    except NotFoundError:
        return None


def _rulings(form: Fields, note: str) -> Iterable[NewRuling]:
    for name in form.values:
        if found := _RULING.fullmatch(name):
            ruling = form.last(name)
            if ruling not in list(Ruling):
                raise Problem(422, f"{ruling[:40]!r}: expected one of {', '.join(Ruling)}")
            yield NewRuling(prompt_id=int(found[1]), tag=found[2], ruling=Ruling(ruling), note=note)


def _changed(operation: Operation, *, leaves: bool = False) -> Callable[..., Response]:
    """A route that changes who has a case. `leaves`: the person has it no more, and sees the queues."""

    def route(request: Request, visitor: AsReviewer, case_id: CaseId) -> Response:
        with visitor.writing() as connection:
            operation(connection, visitor.user, case_id)
        return sent_to(request, REVIEW if leaves else case_path(case_id))

    return route


def _hold(request: Request, visitor: AsReviewer, case_id: CaseId) -> Response:
    until = datetime.now(UTC) + timedelta(hours=visitor.form.read(HoldForm).hours)
    with visitor.writing() as connection:
        desk.hold(connection, visitor.user, case_id, until=until)
    return sent_to(request, REVIEW)


def _assign(request: Request, visitor: AsReviewer, case_id: CaseId) -> Response:
    name = visitor.form.read(AssignForm).to
    with visitor.writing() as connection:
        person = find_user(connection, name) if name else None
        if name and person is None:
            raise NotFoundError(f"there is no user {name!r}")
        desk.assign(connection, visitor.user, case_id, to=person)
    return sent_to(request, REVIEW)


def _appeal(request: Request, visitor: AsReviewer, case_id: CaseId) -> Response:
    reason = visitor.form.read(AppealForm).reason
    with visitor.writing() as connection:
        deciding.appeal(connection, visitor.user, case_id, reason=reason)
    return sent_to(request, case_path(case_id))


def take_again(visitor: Visitor, case_id: int) -> None:
    """Take a case whose decisions were undone, unless it is somebody else's turn."""
    try:
        with visitor.writing() as connection:
            desk.take_case(connection, visitor.user, case_id)
    except (ConflictError, NotAllowedError):
        return
