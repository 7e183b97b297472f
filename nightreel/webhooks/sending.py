"""Sends one webhook: one POST request, no redirects, no proxy, ten seconds in all.

Proxies of the environment are not used: the check of addresses would be theirs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Response:
    """What a receiver said. Its body is not read: it is untrusted, of any size, and may repeat the event."""

    status: int

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """The receiver wants no more events."""
        return self.status == GONE


def send(
    url: str,
    secret: str,
    *,
    message_id: str,
    payload: Mapping[str, Any],
    allowed: Allowed,
    timeout_s: float = TIMEOUT_S,
) -> Response:
    """Sign an event and send it.

    Args:
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
        "webhook-signature": sign(secret, message_id=message_id, timestamp=timestamp, body=body),
    }
    backend = CheckedBackend(allowed, deadline_s=time.monotonic() + timeout_s)
    try:
        with httpcore.ConnectionPool(ssl_context=_tls(), network_backend=backend) as pool:
            with pool.stream("POST", url, headers=headers, content=body) as response:
                return Response(response.status)
    except httpcore.TimeoutException as error:
        detail = f"{parts.hostname} did not respond within {timeout_s:g} s"
        raise TransientError(Reason.WEBHOOK_UNREACHABLE, detail) from error
    except httpcore.ProtocolError as error:  # its words are those of the receiver
        raise TransientError(Reason.WEBHOOK_UNREACHABLE, f"{parts.hostname} did not respond in HTTP") from error
    except (httpcore.NetworkError, OSError, ValueError) as error:
        detail = f"{parts.hostname}: {type(error).__name__}: {str(error)[:200]}"
        raise TransientError(Reason.WEBHOOK_UNREACHABLE, detail) from error


@cache
def _tls() -> SSLContext:
    return httpx.create_ssl_context()
