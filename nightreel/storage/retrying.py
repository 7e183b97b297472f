"""Trying again what a network broke: how often, and how long to wait in between.

`transfer.py` does so with ranges, `s3_bucket.py` with requests.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from nightreel.errors import TransientError
from nightreel.reasons import Reason

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Attempts:
    """The tries of one operation.

    Args:
        limit: failures in a row after which the last error stands.
        backoff_s: longest wait after the first failure, seconds; it doubles with each.
    """

    def __init__(self, limit: int, backoff_s: float) -> None:
        self._limit = limit
        self._backoff_s = backoff_s
        self._failures = 0

    def progressed(self) -> None:
        """Something was achieved: count from the start."""
        self._failures = 0

    async def failed(self, error: TransientError) -> None:
        """Wait before the next try. Only an unreachable storage is worth one at once.

        Raises:
            TransientError: `error`, when there is to be no other try.
        """
        self._failures += 1
        if error.reason is not Reason.STORAGE_UNREACHABLE or self._failures >= self._limit:
            raise error
        _log.debug("try %d of %d follows: %s", self._failures + 1, self._limit, error)
        # jitter: what failed together should not come back together
        await asyncio.sleep(self._backoff_s * 2 ** (self._failures - 1) * random.uniform(0.5, 1))  # noqa: S311


async def retrying(operation: Callable[[], Awaitable[_T]], attempts: Attempts) -> _T:
    """What `operation` returns, at the first try that succeeds."""
    while True:
        try:
            return await operation()
        except TransientError as error:
            await attempts.failed(error)
