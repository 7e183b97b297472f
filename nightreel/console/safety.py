"""What all replies of the console carry, and which requests are refused before anything reads them.

The headers allow a browser to load from the console alone, to run no script that is written into a page, and to show it
in no frame. A request that changes something must come from a page of the console.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE_METHODS = frozenset({"GET", "HEAD"})
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_TLS_ONLY = "max-age=31536000"


class Safety:
    """The outermost part of the application.

    Args:
        app: the rest of it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                if scope["scheme"] == "https":
                    headers.setdefault("Strict-Transport-Security", _TLS_ONLY)
            await send(message)

        if scope["method"] in SAFE_METHODS or is_of_this_site(Headers(scope=scope)):
            await self._app(scope, receive, with_headers)
            return
        refused = PlainTextResponse("this request comes from another site\n", status_code=403)
        await refused(scope, receive, with_headers)


def is_of_this_site(headers: Headers) -> bool:
    """Whether a browser sent a request from a page of this site. Old browsers send `Origin` alone.

    >>> is_of_this_site(Headers({"sec-fetch-site": "same-origin"}))
    True
    >>> is_of_this_site(Headers({"sec-fetch-site": "same-site", "host": "a", "origin": "http://a"}))
    False
    >>> is_of_this_site(Headers({"host": "a:80", "origin": "http://a:80"})), is_of_this_site(Headers({"host": "a"}))
    (True, False)
    """
    if site := headers.get("sec-fetch-site"):
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host")
