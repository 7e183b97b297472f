"""Retry after network errors: how often, and how long to wait between tries.

`transfer.py` retries ranges, `s3_bucket.py` retries requests.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from nightreel.backoff import backoff_s
from nightreel.errors import TransientError
from nightreel.reasons import Reason

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Attempts:
    """The tries of one operation.

    Args:
        limit: failures in a row after which the last error is raised.
        backoff_s: longest wait after the first failure in seconds; it doubles with each failure.
    """

    def __init__(self, limit: int, backoff_s: float) -> None:
        self._limit = limit
        self._backoff_s = backoff_s
        self._failures = 0

    def progressed(self) -> None:
        """Record progress: count failures from zero again."""
        self._failures = 0

    async def failed(self, error: TransientError) -> None:
        """Wait before the next try. Only `storage_unreachable` is retried here.

        Raises:
            TransientError: `error`, when there is no further try.
        """
        self._failures += 1
        if error.reason is not Reason.STORAGE_UNREACHABLE or self._failures >= self._limit:
            raise error
        _log.debug("try %d of %d follows: %s", self._failures + 1, self._limit, error)
        await asyncio.sleep(backoff_s(self._failures, first_s=self._backoff_s))


async def retrying(operation: Callable[[], Awaitable[_T]], attempts: Attempts) -> _T:
    """Run `operation` until it succeeds, and return its result."""
    while True:
        try:
            return await operation()
        except TransientError as error:
            await attempts.failed(error)
