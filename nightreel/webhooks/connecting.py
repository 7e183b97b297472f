"""Connections for webhooks: to checked addresses only, and with a deadline for all that happens on one.

httpcore calls it. TLS checks the certificate against the name in the URL, not against the address.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore

from nightreel.webhooks.addresses import Allowed, resolve


class CheckedBackend(httpcore.NetworkBackend):
    """Makes the connections of one request.

    Args:
        deadline_s: of `time.monotonic`.
    """

    def __init__(self, allowed: Allowed, *, deadline_s: float) -> None:
        self._allowed = allowed
        self._deadline_s = deadline_s
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline counts
        local_address: str | None = None,  # noqa: ARG002 - any
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of a host that takes connections.

        Raises:
            NightreelError: as `resolve`.
            httpcore.ConnectError, httpcore.ConnectTimeout: no address takes connections.
        """
        *others, last = resolve(host, port, self._allowed)
        for address in others:
            try:
                return self._connect(address, port, socket_options)
            except httpcore.ConnectError:
                continue
        return self._connect(last, port, socket_options)

    def _connect(self, address: str, port: int, options: Iterable[Any] | None) -> httpcore.NetworkStream:
        left_s = left(self._deadline_s, httpcore.ConnectTimeout)
        stream = self._sockets.connect_tcp(address, port, timeout=left_s, socket_options=options)
        return _Stream(stream, deadline_s=self._deadline_s)


class _Stream(httpcore.NetworkStream):
    """A connection whose every read and write ends at the deadline: a receiver that sends a byte now and then too."""

    def __init__(self, stream: httpcore.NetworkStream, *, deadline_s: float) -> None:
        self._stream = stream
        self._deadline_s = deadline_s

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the deadline counts
        return self._stream.read(max_bytes, timeout=left(self._deadline_s, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - the deadline counts
        self._stream.write(buffer, timeout=left(self._deadline_s, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the deadline counts
    ) -> httpcore.NetworkStream:
        left_s = left(self._deadline_s, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left_s), deadline_s=self._deadline_s)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def left(deadline_s: float, late: type[Exception]) -> float:
    """Seconds until the deadline. Raises `late` if it has passed."""
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise late("the deadline has passed")
    return left_s
