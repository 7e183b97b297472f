"""Whether a server still works while a request is in flight, so that a dead one is found in seconds.

A server whose host or engine died may leave its connections open: a request would wait for its whole timeout.
`chat_endpoint` calls it in its event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx

_T = TypeVar("_T")

_EVERY_S = 5.0
_TIMEOUT_S = 5.0
_MOST_SILENT = 3  # checks in a row without a response: a busy server may miss one
_DOWN = frozenset((500, 502, 503))


class ServerDownError(Exception):
    """The server does not work, according to its own health check or its silence."""


class Health:
    """The health of one server.

    Args:
        client: sends the checks.
        url: of the check, such as http://host:8000/health. A server that does not know it is healthy if it responds.
    """

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client, self._url = client, url
        self._checked_at = 0.0
        self._silent = 0
        self._lock = asyncio.Lock()

    async def watch(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Run `work`, and check the server every few seconds meanwhile.

        Raises:
            ServerDownError: `work` was cancelled because the server is down.
            Any error of `work`.
        """
        task = asyncio.ensure_future(work())
        try:
            while not (await asyncio.wait({task}, timeout=_EVERY_S))[0]:
                await self._check()
            return task.result()
        finally:
            task.cancel()

    async def _check(self) -> None:
        async with self._lock:  # one check for all requests in flight
            if time.monotonic() - self._checked_at < _EVERY_S:
                return
            try:
                status = await self._status()
            except httpx.ConnectError as error:
                raise ServerDownError(f"no connection for {self._url}: {error}") from error
            except (httpx.TransportError, TimeoutError) as error:
                self._silent += 1
                if self._silent < _MOST_SILENT:
                    return
                self._silent = 0
                raise ServerDownError(f"no response from {self._url} in {_MOST_SILENT} checks") from error
            finally:
                self._checked_at = time.monotonic()
            self._silent = 0
            if status in _DOWN:
                raise ServerDownError(f"status {status} from {self._url}")

    async def _status(self) -> int:
        async with asyncio.timeout(_TIMEOUT_S), self._client.stream("GET", self._url) as response:
            return response.status_code  # its body, which may be of any size, is not read
