"""Decisions in bulk, for leads, with the scope `review`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from nightreel.api.bodies import Body, described_body, sent
from nightreel.api.problems import described
from nightreel.api.replies import json_reply
from nightreel.api.review import REFUSALS, MayReview, acting, may_review
from nightreel.domain.cases import Ruling
from nightreel.domain.findings import Found
from nightreel.review.bulk import BulkFilter, decide_bulk, preview_bulk
from nightreel.review.deciding import LONGEST_NOTE

_Word = Annotated[str, Field(max_length=4000)]
_Severity = Annotated[int, Field(ge=1, le=4)]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class FilterBody(Body):
    """Which labels are decided: all conditions must hold."""

    queue: _Word
    category: _Word | None = None
    prompt: _Word | None = None
    tag: _Word | None = None
    found: Found | None = None
    min_severity: _Severity | None = None
    max_severity: _Severity | None = None
    min_p: _Share | None = None
    max_p: _Share | None = None
    under: _Word | None = None

    @property
    def wanted(self) -> BulkFilter:
        return BulkFilter(**{name: getattr(self, name) for name in FilterBody.model_fields})


class BulkBody(FilterBody):
    """A filter, what is decided, and the `digest` of its preview."""

    ruling: Ruling
    note: str = Field("", max_length=LONGEST_NOTE)
    digest: str = Field(max_length=64)


class PreviewShape(BaseModel):
    """What a bulk decision would hit."""

    cases: int
    videos: int = Field(description="copies count")
    labels: dict[str, int]
    examples: list[str]
    digest: str = Field(description="names exactly these hits")


class BulkShape(BaseModel):
    """What was decided. `batch_id`: to undo all of it."""

    batch_id: UUID
    cases: int
    decisions: int


def add_bulk(router: APIRouter) -> None:
    """Add the routes."""
    shared: dict[str, Any] = {"methods": ["POST"], "responses": described(*REFUSALS)}
    router.add_api_route(
        "/bulk/preview",
        _preview,
        response_model=PreviewShape,
        operation_id="preview_bulk",
        openapi_extra=described_body(FilterBody),
        **shared,
    )
    router.add_api_route(
        "/bulk",
        _decide,
        response_model=BulkShape,
        operation_id="decide_bulk",
        openapi_extra=described_body(BulkBody),
        **shared,
    )


def _preview(
    request: Request, caller: MayReview, body: Annotated[FilterBody, Depends(sent(FilterBody, may_review))]
) -> Response:
    """What a bulk decision would hit."""
    with acting(request, caller) as (connection, user):
        found = preview_bulk(connection, user, body.wanted)
    return json_reply(request, asdict(found))


def _decide(
    request: Request, caller: MayReview, body: Annotated[BulkBody, Depends(sent(BulkBody, may_review))]
) -> Response:
    """Decide all labels that a filter hits, after its preview."""
    with acting(request, caller) as (connection, user):
        done = decide_bulk(connection, user, body.wanted, ruling=body.ruling, note=body.note, digest=body.digest)
    return json_reply(request, asdict(done) | {"batch_id": str(done.batch_id)})
