"""How far machine and people can be trusted, for leads, with the scope `review`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from nightreel.api.access import Caller
from nightreel.api.problems import described
from nightreel.api.replies import json_reply
from nightreel.api.review import REFUSALS, MayReview, acting
from nightreel.review.access import require_lead
from nightreel.review.agreement import read_accuracy, read_agreement
from nightreel.review.auditing import judged_items, read_audit, read_audits
from nightreel.statistics.calibration import reliability

AuditId = Annotated[int, Path(ge=1, le=2**63 - 1, description="`audit_id` of the view `audits`")]


class AuditsShape(BaseModel):
    """The open audits, each with its strata and what they say."""

    audits: list[dict[str, Any]]


class CalibrationShape(BaseModel):
    """Whether probabilities are true."""

    bins: list[dict[str, Any]] = Field(description="ranges of p, with the share that people confirm")
    error: float | None = Field(description="expected calibration error; null: nothing is judged")


class AgreementShape(BaseModel):
    """How far two people agree, by prompt."""

    prompts: list[dict[str, Any]]


class ReviewersShape(BaseModel):
    """How often reviewers are right about golden items, with pseudonyms."""

    reviewers: list[dict[str, Any]]


def add_audit(router: APIRouter) -> None:
    """Add the routes."""
    for path, route, shape in (
        ("/audit", _audits, AuditsShape),
        ("/audit/agreement", _agreement, AgreementShape),
        ("/audit/reviewers", _reviewers, ReviewersShape),
        ("/audit/{audit_id}/calibration", _calibration, CalibrationShape),
    ):
        router.add_api_route(
            path,
            route,
            methods=["GET"],
            response_model=shape,
            operation_id=f"audit_{route.__name__.strip('_')}",
            responses=described(*REFUSALS),
        )


def _audits(request: Request, caller: MayReview) -> Response:
    """What the machine missed, as far as people judged the audits."""
    with _leading(request, caller) as connection:
        found = read_audits(connection)
    return json_reply(request, {"audits": [one.to_json() for one in found]})


def _calibration(request: Request, caller: MayReview, audit_id: AuditId) -> Response:
    """Whether the probabilities of an audited label are true."""
    with _leading(request, caller) as connection:
        found = reliability(judged_items(connection, read_audit(connection, audit_id)))
    return json_reply(request, asdict(found) if found else {"bins": [], "error": None})


def _agreement(request: Request, caller: MayReview) -> Response:
    """How far two people agree on the same labels."""
    with _leading(request, caller) as connection:
        found = read_agreement(connection)
    return json_reply(request, {"prompts": [asdict(one) for one in found]})


def _reviewers(request: Request, caller: MayReview) -> Response:
    """How often reviewers are right about golden items."""
    with _leading(request, caller) as connection:
        found = read_accuracy(connection)
    return json_reply(request, {"reviewers": [one.to_json() for one in found]})


@contextmanager
def _leading(request: Request, caller: Caller) -> Iterator[Connection]:
    with acting(request, caller) as (connection, user):
        require_lead(user, "what audits say")
        yield connection
