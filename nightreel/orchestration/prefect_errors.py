"""Translates failed calls of Prefect's API into this project's errors.

Every call of the API by a client is wrapped in it: `memory_limits` for leases, the command line for deployments.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from nightreel.errors import PermanentError, TransientError
from nightreel.proxies import via_proxy
from nightreel.reasons import Reason

_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}


@contextmanager
def prefect_errors() -> Iterator[None]:
    """Raises TransientError `prefect_unreachable` if a later call may work, else PermanentError `prefect_refused`."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        status, said = error.response.status_code, error.response.text[:200]
        detail = f"the Prefect server{_via_proxy(error)} answered {status}: {said}"
        if status in _PASSING_STATUS:
            raise TransientError(Reason.PREFECT_UNREACHABLE, detail) from error
        if status == httpx.codes.UNAUTHORIZED:
            detail += ". Set PREFECT_API_AUTH_STRING to the server's user:password, or PREFECT_API_KEY to your key"
        raise PermanentError(Reason.PREFECT_REFUSED, detail) from error
    except httpx.TransportError as error:
        raise TransientError(
            Reason.PREFECT_UNREACHABLE, f"the Prefect server{_via_proxy(error)} does not respond: {error!r}"
        ) from error


def _via_proxy(error: httpx.HTTPError) -> str:
    try:
        return via_proxy(str(error.request.url))
    except RuntimeError:  # httpx: the error has no request
        return ""
