"""What the service refuses, and what cannot be reached, as one exception."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx


class ServiceError(Exception):
    """The service refused a request.

    Args:
        status: of HTTP; 0 if the service cannot be reached.
        detail: what is wrong, and what to do.
        retry_after_s: when the same request may succeed; None: not known.
    """

    def __init__(self, status: int, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{status}: {detail}" if status else detail)
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s


@contextmanager
def reached() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise ServiceError(0, f"the service cannot be reached: {error or type(error).__name__}") from error


def checked(reply: httpx.Response) -> httpx.Response:
    if reply.is_success:
        return reply
    reply.read()
    try:
        detail = str(reply.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = reply.text[:200] or reply.reason_phrase
    wait = reply.headers.get("Retry-After", "")
    raise ServiceError(reply.status_code, detail, float(wait) if wait.isdecimal() else None)
