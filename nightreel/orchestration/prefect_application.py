"""The application of the embedded Prefect server: Prefect's own, for its own host name, with a page that logs in.

uvicorn calls `create`, in the process that `services.prefect_server` starts and in a container. Prefect has no setting
for host names. Under a name of its own, a page of the web could reach the server: the name resolves to 127.0.0.1 after
the page is loaded (DNS rebinding).
"""

from __future__ import annotations

import base64
import hmac
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.requests import Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from prefect.server.api.server import create_app
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_API_AUTH_STRING,
    PREFECT_SERVER_UI_STATIC_DIRECTORY,
    PREFECT_UI_API_URL,
)
from starlette.routing import Route

from nightreel.private import close_below
from nightreel.services.prefect_server import HOST, LOGIN_PATH

_MOST_BYTES = 4096
# Prefect's UI reads the secret from here, in base64, and sends it with every request.
_PAGE = '<script>localStorage.setItem("prefect-password", "{}"); location.replace("/")</script>'
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


def create() -> TrustedHostMiddleware:
    """Prefect's application. It answers under the names in PREFECT_API_URL and PREFECT_UI_API_URL, and on loopback.

    Other requests get status 400.
    """
    named = {urlsplit(url.value() or "").hostname for url in (PREFECT_API_URL, PREFECT_UI_API_URL)}
    application = create_app(final=True)
    if directory := PREFECT_SERVER_UI_STATIC_DIRECTORY.value():
        close_below(Path(directory))  # Prefect copied its pages there, with the rights that they had
    application.router.routes.insert(0, Route(LOGIN_PATH, _log_in, methods=["POST"]))
    # Around the application, not in it: Prefect's own services call the same application under a name in memory.
    return TrustedHostMiddleware(application, allowed_hosts=[HOST, *filter(None, named)], www_redirect=False)


async def _log_in(request: Request) -> Response:
    """Let the browser keep the secret, if the form has it: no page without it can log anybody in or out."""
    expected = PREFECT_SERVER_API_AUTH_STRING.value() or ""
    given = await _password(request)
    if not expected or not hmac.compare_digest(given, expected.encode()):
        return PlainTextResponse("This page is out of date: call `nightreel ui` again.", status_code=403)
    return HTMLResponse(_PAGE.format(base64.b64encode(given).decode()), headers=_HEADERS)


async def _password(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            return b""
    return parse_qs(body.decode("latin-1")).get("password", [""])[0].encode()
