"""Errors as clients get them: application/problem+json (RFC 9457), one sentence that says what is wrong and what to do.

What is not an error of this project gives status 500 and no detail: it may hold data.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from nightreel.errors import NightreelError, SettingsError, TransientError
from nightreel.review.refusals import ConflictError, NotAllowedError, NotFoundError

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_S = 5
_LONGEST = 2000
_OF_CASES = {NotAllowedError: 403, NotFoundError: 404, ConflictError: 409}

logger = logging.getLogger(__name__)


class ProblemShape(BaseModel):
    """The body of an error."""

    title: str = Field(description="the words of the status")
    status: int
    detail: str = Field(description="what is wrong, and what to do")
    reason: str | None = Field(None, description="a word of docs/reasons.md, if it is a failure that has one")


class Problem(Exception):  # noqa: N818 - the RFC's word
    """An answer with an error status."""

    def __init__(
        self, status: int, detail: str, *, reason: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.reason = reason
        self.headers = dict(headers or {})


def not_found(what: str) -> Problem:
    return Problem(404, what)


def busy(what: str, *, retry_after_s: float = _RETRY_AFTER_S) -> Problem:
    """Status 429: the same request may succeed later."""
    return Problem(429, what, headers={"Retry-After": str(max(1, round(retry_after_s)))})


def answer_with_problems(app: FastAPI) -> None:
    """Answer every error of this application as problem+json."""

    async def problem(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)
        return _reply(error)

    async def of_project(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, NightreelError)
        return _reply(as_problem(error))

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return _reply(invalid_request(error))

    async def of_http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return _reply(Problem(error.status_code, str(error.detail), headers=error.headers))

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _reply(Problem(500, "an error of the service: its log says more"))

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(NightreelError, of_project)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(Exception, unexpected)


def invalid_request(error: RequestValidationError) -> Problem:
    """What is wrong with the parameters of a request, as an answer."""
    return Problem(422, "; ".join(_said(one) for one in error.errors()[:5]))


def as_problem(error: NightreelError) -> Problem:
    """A failure as an answer.

    400 for what the client wrote; 403, 404 or 409 for what a person may not do; 503 for what may pass; else 422.
    """
    if status := next((status for kind, status in _OF_CASES.items() if isinstance(error, kind)), None):
        return Problem(status, error.detail)
    if isinstance(error, SettingsError):
        return Problem(400, error.detail)
    if isinstance(error, TransientError):
        logger.warning("%s", error)
        detail = f"{error.reason.meaning} Try again later."
        return Problem(503, detail, reason=error.reason, headers={"Retry-After": str(_RETRY_AFTER_S)})
    return Problem(422, error.detail, reason=error.reason)


def _reply(problem: Problem) -> JSONResponse:
    body = ProblemShape(
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        detail=problem.detail[:_LONGEST],
        reason=problem.reason,
    )
    headers = {"Cache-Control": "no-store"} | problem.headers
    return JSONResponse(
        body.model_dump(exclude_none=True), status_code=problem.status, headers=headers, media_type=MEDIA_TYPE
    )


def _said(one: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in one["loc"][1:]) or "request"
    given = repr(one.get("input"))[:100]
    return f"{where}={given}: {one['msg']}"


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error statuses for the OpenAPI document."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemShape"}}},
        }
        for status in statuses
    }
