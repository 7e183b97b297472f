"""The application under /api/v1. `server` runs it; the console can mount it.

It has no documentation pages, because theirs load programs from elsewhere; /api/v1/openapi.json describes it. No other
origin may call it from a browser (no CORS), and only the names that it knows reach it: another name that resolves to
this host (DNS rebinding) gets status 400.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.openapi.utils import get_openapi

from nightreel import __version__
from nightreel.api.audit import add_audit
from nightreel.api.bulk import add_bulk
from nightreel.api.exports import add_exports
from nightreel.api.finding import add_search
from nightreel.api.pictures import add_pictures
from nightreel.api.problems import ProblemShape, answer_with_problems
from nightreel.api.questions import add_questions
from nightreel.api.requests import add_requests
from nightreel.api.review import add_review
from nightreel.api.rows import add_rows
from nightreel.api.service import Service

PREFIX = "/api/v1"
LOOPBACK = ("127.0.0.1", "localhost")


def create_app(service: Service | None, *, names: Sequence[str] = ()) -> FastAPI:
    """The application.

    Args:
        service: what its routes share, open for as long as the application runs; None: only to describe it.
        names: host names under which clients call it, besides loopback.
    """
    app = FastAPI(
        title="Nightreel",
        version=__version__,
        description="What is in your videos: rows, pictures and questions. Each request needs a token.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    router = APIRouter(prefix=PREFIX)
    for add in (
        add_rows,
        add_search,
        add_exports,
        add_pictures,
        add_questions,
        add_review,
        add_bulk,
        add_audit,
        add_requests,
    ):
        add(router)
    app.include_router(router)
    answer_with_problems(app)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, *names], www_redirect=False)
    app.openapi = lambda: _describe(app)  # type: ignore[method-assign]  # FastAPI's way to change the document
    return app


def _describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the one shape of all errors."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        shapes = document["components"]["schemas"]
        shapes["ProblemShape"] = ProblemShape.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            shapes.pop(unused, None)
        app.openapi_schema = document
    return app.openapi_schema
