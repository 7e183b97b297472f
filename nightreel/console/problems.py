"""Errors as pages, and visitors who must go to another page first."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from nightreel.api.problems import Problem, as_problem, invalid_request
from nightreel.console.access import SentElsewhereError
from nightreel.console.rendering import is_htmx, render
from nightreel.errors import NightreelError

logger = logging.getLogger(__name__)


def answer_with_pages(app: FastAPI) -> None:
    """Answer every error of this application as a page that says what is wrong, or as a part for htmx."""

    async def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return _page(request, error)

    async def of_project(request: Request, error: Exception) -> Response:
        assert isinstance(error, NightreelError)
        return _page(request, as_problem(error))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _page(request, invalid_request(error))

    async def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _page(request, Problem(error.status_code, str(error.detail), headers=error.headers))

    async def unexpected(request: Request, error: Exception) -> Response:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _page(request, Problem(500, "an error of the console: its log says more"))

    async def elsewhere(request: Request, error: Exception) -> Response:
        assert isinstance(error, SentElsewhereError)
        return sent_to(request, error.path)

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(NightreelError, of_project)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(Exception, unexpected)
    app.add_exception_handler(SentElsewhereError, elsewhere)


def sent_to(request: Request, path: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Send a browser to another page. htmx would follow a redirect and put the page into a part of this one."""
    if is_htmx(request):
        return Response(headers={"HX-Redirect": path} | dict(headers or {}))
    return RedirectResponse(path, status_code=303, headers=headers)


def _page(request: Request, problem: Problem) -> Response:
    reply = render(
        request,
        "_problem.html" if is_htmx(request) else "problem.html",
        status=problem.status,
        title=HTTPStatus(problem.status).phrase,
        problem=problem,
    )
    reply.headers.update(problem.headers)
    return reply
