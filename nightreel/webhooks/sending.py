"""Sends one webhook: one POST request, no redirects, no proxy, ten seconds in all.

Proxies of the environment are not used: the check of addresses would be theirs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx

from nightreel import __version__
from nightreel.errors import TransientError
from nightreel.reasons import Reason
from nightreel.webhooks.addresses import Allowed
from nightreel.webhooks.connecting import CheckedBackend
from nightreel.webhooks.signing import sign
from nightreel.webhooks.urls import check_url

TIMEOUT_S = 10.0
GONE = 410
_ASKS_TO_WAIT = (429, 503)
_LONGEST_DATE = 64


@dataclass(frozen=True, slots=True)
class Response:
    """What a receiver said. Its body is not read: it is untrusted, of any size, and may repeat the event.

    Args:
        retry_after_s: how long it wants no request; None: it did not say.
    """

    status: int
    retry_after_s: float | None = None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """The receiver wants no more events."""
        return self.status == GONE


def send(
    url: str,
    secrets: Sequence[str],
    *,
    message_id: str,
    payload: Mapping[str, Any],
    allowed: Allowed,
    timeout_s: float = TIMEOUT_S,
) -> Response:
    """Sign an event and send it.

    Args:
        secrets: each signs.
        message_id: the same for each attempt.
        timeout_s: of everything together.

    Raises:
        SettingsError: nothing may be sent to this URL.
        PermanentError: `webhook_refused`: nor to its address.
        TransientError: `webhook_unreachable`: there was no response.
    """
    check_url(url, allowed)
    body = json.dumps(payload, separators=(",", ":")).encode()
    timestamp = int(time.time())
    parts = urlsplit(url)
    headers: dict[bytes | str, bytes | str] = {
        "host": parts.netloc,
        "content-type": "application/json",
        "content-length": str(len(body)),
        "user-agent": f"nightreel/{__version__}",
        "connection": "close",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secrets, message_id=message_id, timestamp=timestamp, body=body),
    }
    backend = CheckedBackend(allowed, deadline_s=time.monotonic() + timeout_s)
    try:
        with httpcore.ConnectionPool(ssl_context=_tls(), network_backend=backend) as pool:
            with pool.stream("POST", url, headers=headers, content=body) as response:
                return Response(response.status, _retry_after_s(response.status, response.headers))
    except httpcore.TimeoutException as error:
        detail = f"{parts.hostname} did not respond within {timeout_s:g} s"
        raise TransientError(Reason.WEBHOOK_UNREACHABLE, detail) from error
    except httpcore.ProtocolError as error:  # its words are those of the receiver
        raise TransientError(Reason.WEBHOOK_UNREACHABLE, f"{parts.hostname} did not respond in HTTP") from error
    except (httpcore.NetworkError, OSError, ValueError) as error:
        detail = f"{parts.hostname}: {type(error).__name__}: {str(error)[:200]}"
        raise TransientError(Reason.WEBHOOK_UNREACHABLE, detail) from error


def _retry_after_s(status: int, headers: Sequence[tuple[bytes, bytes]]) -> float | None:
    """The header Retry-After (RFC 9110, 10.2.3): seconds or a date; None if there is none, or none that can be read.

    >>> _retry_after_s(429, [(b"Retry-After", b"120")]), _retry_after_s(200, [(b"Retry-After", b"120")])
    (120.0, None)
    """
    given = [value for name, value in headers if name.lower() == b"retry-after"]
    if status not in _ASKS_TO_WAIT or len(given) != 1 or len(given[0]) > _LONGEST_DATE:
        return None
    text = given[0].decode("latin-1").strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - time.time())


@cache
def _tls() -> SSLContext:
    return httpx.create_ssl_context()
