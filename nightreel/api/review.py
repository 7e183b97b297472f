"""Queues, cases and decisions, with the scope `review`. What a person may do is up to `nightreel.review`.

A token works as its user. Restricted videos need both: the user may see them, and the token has the scope `restricted`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from nightreel.api.access import Caller, needs
from nightreel.api.bodies import Body, described_body, sent
from nightreel.api.problems import described
from nightreel.api.reading import writing
from nightreel.api.replies import json_reply
from nightreel.api.service import service_of
from nightreel.database.users import find_user, get_user
from nightreel.domain.cases import Ruling
from nightreel.domain.tokens import Scope
from nightreel.domain.users import User
from nightreel.review import deciding, desk, history, showing, undoing, viewing
from nightreel.review.deciding import LONGEST_NOTE, NewRuling
from nightreel.review.refusals import NotFoundError

_LARGEST_ID = 2**63 - 1
may_review = needs(Scope.REVIEW)
MayReview = Annotated[Caller, Depends(may_review)]
CaseId = Annotated[int, Path(ge=1, le=_LARGEST_ID, description="`case_id` of the view `cases`")]
QueueName = Annotated[str, Path(max_length=60)]
REFUSALS = (400, 401, 403, 404, 409, 413, 422, 429)


class RulingBody(Body):
    """What a person makes of one label."""

    prompt_id: int = Field(ge=1, le=_LARGEST_ID)
    tag: str = Field("", max_length=4000)
    ruling: Ruling
    start_s: float | None = Field(None, allow_inf_nan=False)
    end_s: float | None = Field(None, allow_inf_nan=False)
    note: str = Field("", max_length=LONGEST_NOTE)


class DecisionBody(Body):
    """Rulings on all labels of a case that wait. `version`: of the case that was looked at."""

    version: int = Field(ge=0, le=2**31 - 1)
    rulings: list[RulingBody] = Field(min_length=1, max_length=1000)


class HoldBody(Body):
    """Until when nobody gets the case from the queue; UTC without an offset."""

    until: datetime


class AssignBody(Body):
    """For whom the case is kept: the name of a user; null: nobody."""

    to: str | None = Field(max_length=200)


class AppealBody(Body):
    """Why a closed case is reopened."""

    reason: str = Field(min_length=1, max_length=LONGEST_NOTE)


class QueuesShape(BaseModel):
    """The queues that the user works, with the number of cases that wait."""

    queues: list[dict[str, Any]]


class CaseShape(BaseModel):
    """A case; null: there is none, and `why`."""

    case: dict[str, Any] | None
    why: str | None = None


class DecidedShape(BaseModel):
    """What was decided. `batch_id`: to undo it."""

    batch_id: UUID
    state: str
    decisions: int
    queue: str


class UndoneShape(BaseModel):
    """What was undone. `kept`: decisions that stay, because a later one rests on them."""

    decisions: int
    cases: int
    kept: int


class HistoryShape(BaseModel):
    """What happened to a case, the oldest first."""

    history: list[dict[str, Any]]


@contextmanager
def acting(request: Request, caller: Caller) -> Iterator[tuple[Connection, User]]:
    """A transaction, and the user of the token."""
    with writing(service_of(request).database, restricted=caller.restricted) as connection:
        user = get_user(connection, caller.token.user_id)
        yield connection, replace(user, restricted=user.restricted and caller.restricted)


def add_route(
    router: APIRouter,
    path: str,
    route: Callable[..., Response],
    shape: type[BaseModel],
    *,
    reads: bool = False,
    body: type[Body] | None = None,
) -> None:
    """Add a route that acts as a person. `reads`: it is a GET. `body`: of its request."""
    router.add_api_route(
        path,
        route,
        methods=["GET" if reads else "POST"],
        response_model=shape,
        operation_id=route.__name__.strip("_"),
        openapi_extra=described_body(body) if body else None,
        responses=described(*REFUSALS),
    )


def add_review(router: APIRouter) -> None:
    """Add the routes."""
    add = partial(add_route, router)
    add("/queues", _queues, QueuesShape, reads=True)
    add("/queues/{queue}/take", _take_next, CaseShape)
    add("/cases/{case_id}", _case, CaseShape, reads=True)
    add("/cases/{case_id}/history", _history, HistoryShape, reads=True)
    add("/cases/{case_id}/take", _on_case(desk.take_case, "take_case", "Take this case."), CaseShape)
    add(
        "/cases/{case_id}/extend", _on_case(desk.extend, "extend_case", "Start the time of your case again."), CaseShape
    )
    add("/cases/{case_id}/release", _on_case(desk.release, "release_case", "Give a case back."), CaseShape)
    add(
        "/cases/{case_id}/skip",
        _on_case(desk.skip, "skip_case", "Give a case back, and do not get it again."),
        CaseShape,
    )
    add("/cases/{case_id}/hold", _hold_case, CaseShape, body=HoldBody)
    add("/cases/{case_id}/assign", _assign_case, CaseShape, body=AssignBody)
    add("/cases/{case_id}/decisions", _decide_case, DecidedShape, body=DecisionBody)
    add("/cases/{case_id}/appeal", _appeal_case, CaseShape, body=AppealBody)
    add("/decisions/{batch_id}/undo", _undo_decisions, UndoneShape)


def _queues(request: Request, caller: MayReview) -> Response:
    """Your queues, and how many cases wait."""
    with acting(request, caller) as (connection, user):
        found = showing.show_queues(connection, user)
    return json_reply(request, {"queues": [asdict(one) for one in found]})


def _take_next(request: Request, caller: MayReview, queue: QueueName) -> Response:
    """Take the next case of a queue, or get the one that you have."""
    with acting(request, caller) as (connection, user):
        case_id = desk.take_next(connection, user, queue)
        if case_id is None:
            return json_reply(request, {"case": None, "why": desk.why_nothing(connection, user, queue)})
        return _shown(request, connection, user, case_id)


def _case(request: Request, caller: MayReview, case_id: CaseId) -> Response:
    """A case."""
    with acting(request, caller) as (connection, user):
        return _shown(request, connection, user, case_id)


def _history(request: Request, caller: MayReview, case_id: CaseId) -> Response:
    """What happened to a case."""
    with acting(request, caller) as (connection, user):
        found = history.read_history(connection, user, case_id)
    return json_reply(request, {"history": [asdict(one) for one in found]})


def _on_case(operation: Callable[[Connection, User, int], None], name: str, about: str) -> Callable[..., Response]:
    def route(request: Request, caller: MayReview, case_id: CaseId) -> Response:
        with acting(request, caller) as (connection, user):
            operation(connection, user, case_id)
            return _shown(request, connection, user, case_id)

    route.__name__, route.__doc__ = name, about
    return route


def _hold_case(
    request: Request, caller: MayReview, case_id: CaseId, body: Annotated[HoldBody, Depends(sent(HoldBody, may_review))]
) -> Response:
    """Give a case back, and let nobody get it from the queue before a time."""
    with acting(request, caller) as (connection, user):
        desk.hold(connection, user, case_id, until=body.until)
        return _shown(request, connection, user, case_id)


def _assign_case(
    request: Request,
    caller: MayReview,
    case_id: CaseId,
    body: Annotated[AssignBody, Depends(sent(AssignBody, may_review))],
) -> Response:
    """Keep a case for one person."""
    with acting(request, caller) as (connection, user):
        person = find_user(connection, body.to) if body.to is not None else None
        if body.to is not None and person is None:
            raise NotFoundError(f"there is no user {body.to!r}")
        desk.assign(connection, user, case_id, to=person)
        return _shown(request, connection, user, case_id)


def _decide_case(
    request: Request,
    caller: MayReview,
    case_id: CaseId,
    body: Annotated[DecisionBody, Depends(sent(DecisionBody, may_review))],
) -> Response:
    """Decide all labels of a case that wait."""
    rulings = [NewRuling(**one.model_dump()) for one in body.rulings]
    with acting(request, caller) as (connection, user):
        done = deciding.decide(connection, user, case_id, version=body.version, rulings=rulings)
    return json_reply(request, asdict(done) | {"batch_id": str(done.batch_id)})


def _appeal_case(
    request: Request,
    caller: MayReview,
    case_id: CaseId,
    body: Annotated[AppealBody, Depends(sent(AppealBody, may_review))],
) -> Response:
    """Reopen a closed case: a lead who has not decided in it decides again."""
    with acting(request, caller) as (connection, user):
        deciding.appeal(connection, user, case_id, reason=body.reason)
        return _shown(request, connection, user, case_id)


def _undo_decisions(request: Request, caller: MayReview, batch_id: UUID) -> Response:
    """Undo decisions that were made together."""
    with acting(request, caller) as (connection, user):
        done = undoing.undo(connection, user, batch_id)
    return json_reply(request, asdict(done))


def _shown(request: Request, connection: Connection, user: User, case_id: int) -> Response:
    case = showing.show_case(connection, user, case_id)
    viewing.note_case(connection, user, case)
    return json_reply(request, {"case": asdict(case), "why": None})
