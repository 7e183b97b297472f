"""The application of the console, with the REST service under /api/v1. `server` runs it.

Only the names that it knows reach it: another name that resolves to this host (DNS rebinding) gets status 400.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from nightreel.api.app import LOOPBACK, create_app
from nightreel.api.app import PREFIX as API
from nightreel.api.service import Service
from nightreel.console.account import add_account
from nightreel.console.find import add_find
from nightreel.console.lead import add_lead
from nightreel.console.operator import add_operator
from nightreel.console.problems import answer_with_pages
from nightreel.console.proxied import Proxied
from nightreel.console.review import add_review
from nightreel.console.review_cases import add_cases
from nightreel.console.safety import Safety
from nightreel.console.signing_in import add_signing_in
from nightreel.console.videos import add_videos

_STATIC = Path(__file__).with_name("static")


def create_pages(service: Service | None, *, names: Sequence[str] = ()) -> FastAPI:
    """The pages alone. Arguments as `create_console`."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.service = service
    router = APIRouter()
    for add in (
        add_signing_in,
        add_account,
        add_find,
        add_videos,
        add_review,
        add_cases,
        add_lead,
        add_operator,
    ):
        add(router)
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=_STATIC))
    answer_with_pages(app)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, *names], www_redirect=False)
    app.add_middleware(Safety)
    return app


def create_console(service: Service, *, names: Sequence[str] = ()) -> ASGIApp:
    """The pages and the REST service. Requests to the latter have a token and no cookie.

    Args:
        service: what routes share, open for as long as the application runs.
        names: host names under which browsers call it, besides loopback.
    """
    pages, rest = create_pages(service, names=names), create_app(service, names=names)

    async def console(scope: Scope, receive: Receive, send: Send) -> None:
        is_rest = scope.get("path", "").startswith(f"{API}/")
        await (rest if is_rest else pages)(scope, receive, send)

    settings = service.settings
    return Proxied(console, settings.console_proxies, settings.console_user_header)
