"""What a proxy in front of the console may say: a browser's address, that it speaks TLS, who signed in at the proxy.

Only proxies of `NIGHTREEL_CONSOLE_PROXIES` are believed. What others say of a person is taken off a request before
anything reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware


class Proxied:
    """The outermost part of the application.

    Args:
        app: the rest of it.
        proxies: addresses or networks. user_header: in which they name a person; empty: none.
    """

    def __init__(self, app: ASGIApp, proxies: Sequence[str], user_header: str) -> None:
        self._app = ProxyHeadersMiddleware(app, trusted_hosts=list(proxies))  # type: ignore[arg-type]  # ASGI by another name
        self._networks = [ip_network(one) for one in proxies]
        self._user_header = user_header.lower().encode("latin-1")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._user_header and scope["type"] == "http" and not self._is_proxy(scope):
            scope["headers"] = [one for one in scope["headers"] if one[0] != self._user_header]
        await self._app(scope, receive, send)  # type: ignore[arg-type]

    def _is_proxy(self, scope: Scope) -> bool:
        client = scope.get("client")
        try:
            return client is not None and any(ip_address(client[0]) in network for network in self._networks)
        except ValueError:
            return False


def named_by_proxy(connection: HTTPConnection, user_header: str) -> str | None:
    """The person whom the proxy names; None: it names none, or several.

    Args:
        user_header: the setting; empty: no proxy is asked.
    """
    names = connection.headers.getlist(user_header) if user_header else []
    return names[0] if len(names) == 1 and names[0] else None
