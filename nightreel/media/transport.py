"""Messages between the pool and its processes: JSON, then raw bytes, over a Unix socket, with a deadline.

JSON, not pickle, because the other side decodes hostile files: its messages are read as data and cannot run code.
Used by `sandbox`, `fork_server` and `decoder_process`.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

_HEADER = struct.Struct("<QQ")  # bytes of JSON, bytes of blob
_MAX_JSON_BYTES = 64 * 2**20
_MAX_BLOB_BYTES = 512 * 2**20


class ConnectionLostError(Exception):
    """The other side is gone, or sent an invalid message."""


class DeadlineError(Exception):
    """The other side did not reply in time."""


def send(connection: socket.socket, message: dict[str, Any], *, blob: bytes = b"", fd: int | None = None) -> None:
    """Send one message, and optionally a file descriptor.

    Raises:
        ConnectionLostError: the other side is gone.
        DeadlineError: it did not read within the socket's timeout.
    """
    text = json.dumps(message).encode()
    head = _HEADER.pack(len(text), len(blob))
    try:
        sent = socket.send_fds(connection, [head], [fd] if fd is not None else [])
        connection.sendall(head[sent:] + text)
        connection.sendall(blob)
    except TimeoutError:
        raise DeadlineError from None
    except OSError as error:
        raise ConnectionLostError(str(error)) from error


def receive(connection: socket.socket, *, deadline: float | None = None) -> tuple[dict[str, Any], bytes, int | None]:
    """Wait for one message.

    Args:
        deadline: on `time.monotonic`'s clock; None waits without limit.

    Returns:
        The message, its blob, and the file descriptor that came along.

    Raises:
        ConnectionLostError, DeadlineError.
    """
    try:
        _limit(connection, deadline)
        head, fds, _, _ = socket.recv_fds(connection, _HEADER.size, 1)
        if not head:
            raise ConnectionLostError("closed")
        head += _receive_exactly(connection, _HEADER.size - len(head), deadline)
        text_bytes, blob_bytes = _HEADER.unpack(head)
        if text_bytes > _MAX_JSON_BYTES or blob_bytes > _MAX_BLOB_BYTES:
            raise ConnectionLostError(f"message too large: {text_bytes} + {blob_bytes} bytes")
        message = json.loads(_receive_exactly(connection, text_bytes, deadline))
        blob = bytes(_receive_exactly(connection, blob_bytes, deadline))
    except TimeoutError:
        raise DeadlineError from None
    except (OSError, ValueError) as error:
        raise ConnectionLostError(str(error)) from error
    return message, blob, fds[0] if fds else None


def _receive_exactly(connection: socket.socket, count: int, deadline: float | None) -> bytearray:
    data = bytearray(count)
    view, filled = memoryview(data), 0
    while filled < count:
        _limit(connection, deadline)
        received = connection.recv_into(view[filled:])
        if not received:
            raise ConnectionLostError("closed in the middle of a message")
        filled += received
    return data


def _limit(connection: socket.socket, deadline: float | None) -> None:
    if deadline is not None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
