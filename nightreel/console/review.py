"""Review: queues, the next case of one, and how a person wants to see cases. `review_cases` has the cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from pydantic import Field

from nightreel.api.bodies import Body
from nightreel.api.problems import Problem
from nightreel.console.access import AsReviewer
from nightreel.console.fields import query_of
from nightreel.console.problems import sent_to
from nightreel.console.rendering import render
from nightreel.console.review_cases import take_again
from nightreel.console.review_pages import (
    REVIEW,
    break_due,
    case_path,
    first_look,
    or_why,
    queues_page,
    queues_path,
)
from nightreel.database.preferences import save_preferences
from nightreel.review import desk, showing, undoing
from nightreel.review.deciding import LONGEST_NOTE
from nightreel.review.scenes import read_scenes

MOST_NOTES = 9
QueueName = Annotated[str, Path(max_length=60)]


class TakeForm(Body):
    """`anyway`: though it is time for a break."""

    anyway: bool = False


class UndoForm(Body):
    """The batch to undo; none: the last one of this person."""

    batch: UUID | None = None


class ViewForm(Body):
    """How pictures are shown first, and the notes, one in each field."""

    blurred: bool = False
    grey: bool = False
    note: list[str] = Field(default_factory=list, max_length=MOST_NOTES)


def add_review(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route(REVIEW, _queues, methods=["GET"])
    router.add_api_route(f"{REVIEW}/preferences", _preferences, methods=["GET"])
    router.add_api_route(f"{REVIEW}/preferences", _prefer, methods=["POST"])
    router.add_api_route(f"{REVIEW}/undo", or_why(_undo), methods=["POST"])
    router.add_api_route(f"{REVIEW}/queues/{{queue}}/take", or_why(_take_next), methods=["POST"])
    router.add_api_route(f"{REVIEW}/queues/{{queue}}/ahead", _ahead, methods=["GET"])


def _queues(request: Request, visitor: AsReviewer) -> Response:
    """All queues. A person who comes from one sees why it has no next case."""
    return queues_page(request, visitor, done=query_of(request).last("done"))


def _take_next(request: Request, visitor: AsReviewer, queue: QueueName) -> Response:
    anyway = visitor.form.read(TakeForm).anyway
    with visitor.writing() as connection:
        is_over = not anyway and break_due(connection, visitor) is not None
        case_id = None if is_over else desk.take_next(connection, visitor.user, queue)
    return sent_to(request, queues_path(queue) if case_id is None else case_path(case_id))


def _ahead(request: Request, visitor: AsReviewer, queue: QueueName) -> Response:
    """The pictures of the case that is likely to come next, for the browser to load."""
    with visitor.reading() as connection:
        case_id = desk.look_ahead(connection, visitor.user, queue)
        findings = showing.findings_of_cases(connection, [case_id])[case_id] if case_id is not None else {}
        scenes = read_scenes(connection, list(findings.values()))
    return render(request, "_review_ahead.html", scenes=scenes)


def _undo(request: Request, visitor: AsReviewer) -> Response:
    batch = visitor.form.read(UndoForm).batch
    with visitor.writing() as connection:
        batch_id = batch or undoing.last_batch(connection, visitor.user)
        undoing.undo(connection, visitor.user, batch_id)
        case_id = undoing.case_of_batch(connection, batch_id)
    if case_id is not None:
        take_again(visitor, case_id)
    return sent_to(request, REVIEW if case_id is None else case_path(case_id))


def _preferences(request: Request, visitor: AsReviewer) -> Response:
    blurred, grey = first_look(visitor)
    return render(request, "review_preferences.html", most=MOST_NOTES, longest=LONGEST_NOTE, blurred=blurred, grey=grey)


def _prefer(request: Request, visitor: AsReviewer) -> Response:
    given = visitor.form.read(ViewForm)
    if any(len(note) > LONGEST_NOTE for note in given.note):
        raise Problem(422, f"a note may have {LONGEST_NOTE:,} characters")
    notes = tuple(note.strip() for note in given.note if note.strip())
    chosen = replace(visitor.preferences, blurred=given.blurred, grey=given.grey, notes=notes)
    with visitor.writing() as connection:
        save_preferences(connection, visitor.user, chosen)
    return sent_to(request, REVIEW)
