"""How bytes reach a model server: a transport of httpx, and what its errors are about. `chat_endpoint` calls it."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx

from nightreel.proxies import is_loopback


def transport_to(url: str, socket_path: Path | None, limits: httpx.Limits) -> httpx.AsyncHTTPTransport | None:
    """The transport to a server on this machine, which takes no proxy; None: as the environment says."""
    if socket_path is None and not is_loopback(url):
        return None
    return httpx.AsyncHTTPTransport(uds=str(socket_path) if socket_path else None, limits=limits)


def resolution_error(error: BaseException | None) -> socket.gaierror | None:
    """The error of resolving a host's name that caused this error, if one did."""
    while error:
        if isinstance(error, socket.gaierror):
            return error
        error = error.__cause__ or error.__context__
    return None
