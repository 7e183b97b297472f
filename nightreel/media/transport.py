"""Messages between the pool and its processes: JSON, then raw bytes, over a Unix socket, with a deadline.

JSON, not pickle, because the other side decodes hostile files: its messages are read as data and cannot run code.
Whoever receives a message limits its size and parses it.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

_HEADER = struct.Struct("<QQ")  # bytes of JSON, bytes of blob


class ConnectionLostError(Exception):
    """The other side is gone, or sent an invalid message."""


class DeadlineError(Exception):
    """The other side did not reply in time."""


class Message(NamedTuple):
    """A message as it came. `fds` are new descriptors, which the receiver closes."""

    text: bytes
    blob: bytes
    fds: tuple[int, ...] = ()


def send(connection: socket.socket, message: dict[str, Any], *, blob: bytes = b"", fds: Sequence[int] = ()) -> None:
    """Send one message, and optionally file descriptors.

    Raises:
        ConnectionLostError: the other side is gone.
        DeadlineError: it did not read within the socket's timeout.
    """
    text = json.dumps(message).encode()
    head = _HEADER.pack(len(text), len(blob))
    try:
        sent = socket.send_fds(connection, [head], list(fds))
        connection.sendall(head[sent:] + text)
        connection.sendall(blob)
    except TimeoutError:
        raise DeadlineError from None
    except OSError as error:
        raise ConnectionLostError(str(error)) from error


def receive(
    connection: socket.socket,
    *,
    most_text_bytes: int,
    most_blob_bytes: int = 0,
    most_fds: int = 0,
    deadline: float | None = None,
) -> Message:
    """Wait for one message.

    Args:
        most_text_bytes, most_blob_bytes: a larger message is invalid.
        most_fds: the kernel closes further descriptors.
        deadline: on `time.monotonic`'s clock; None waits without limit.

    Raises:
        ConnectionLostError, DeadlineError.
    """
    try:
        _limit(connection, deadline)
        head, fds, _, _ = socket.recv_fds(connection, _HEADER.size, most_fds)
        if not head:
            raise ConnectionLostError("closed")
        head += _receive_exactly(connection, _HEADER.size - len(head), deadline)
        text_bytes, blob_bytes = _HEADER.unpack(head)
        if text_bytes > most_text_bytes or blob_bytes > most_blob_bytes:
            raise ConnectionLostError(f"message too large: {text_bytes} + {blob_bytes} bytes")
        text = _receive_exactly(connection, text_bytes, deadline)
        blob = _receive_exactly(connection, blob_bytes, deadline)
    except TimeoutError:
        raise DeadlineError from None
    except OSError as error:
        raise ConnectionLostError(str(error)) from error
    return Message(bytes(text), bytes(blob), tuple(fds))


def _receive_exactly(connection: socket.socket, count: int, deadline: float | None) -> bytearray:
    data = bytearray()
    while len(data) < count:
        _limit(connection, deadline)
        received = connection.recv(min(count - len(data), 2**20))
        if not received:
            raise ConnectionLostError("closed in the middle of a message")
        data += received
    return data


def _limit(connection: socket.socket, deadline: float | None) -> None:
    if deadline is not None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
