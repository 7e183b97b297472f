"""What Prefect's API answers when it does not do what it was asked, as this project's errors.

Whoever calls the API by a client wraps the call in it: `memory_limits` for leases, the command line for deployments.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from nightreel.errors import PermanentError, TransientError
from nightreel.reasons import Reason

_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}


@contextmanager
def prefect_errors() -> Iterator[None]:
    """Raises TransientError `prefect_unreachable` where it may answer later, PermanentError `prefect_refused` else."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        status, said = error.response.status_code, error.response.text[:200]
        if status in _PASSING_STATUS:
            raise TransientError(Reason.PREFECT_UNREACHABLE, f"the Prefect server answers {status}: {said}") from error
        raise PermanentError(Reason.PREFECT_REFUSED, f"the Prefect server answers {status}: {said}") from error
    except httpx.TransportError as error:
        raise TransientError(Reason.PREFECT_UNREACHABLE, f"the Prefect server does not answer: {error!r}") from error
