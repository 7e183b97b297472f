"""How many requests a token may make: a bucket for each token, which fills evenly and empties by one a request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class RateLimit:
    """Thread-safe. It counts in this process: two processes give each token twice as much.

    Args:
        per_minute: requests in a minute, and the most at once.
        clock: seconds, from any moment.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._per_s = per_minute / 60
        self._clock = clock
        self._buckets: dict[int, tuple[float, float]] = {}  # what was left, and when
        self._lock = threading.Lock()

    def wait_s(self, token_id: int) -> float:
        """Take one request from a token's bucket. Returns 0, or the seconds until there is one again.

        >>> now = [0.0]
        >>> limit = RateLimit(60, clock=lambda: now[0])
        >>> [limit.wait_s(7) for _ in range(61)][-2:]
        [0.0, 1.0]
        """
        with self._lock:
            now = self._clock()
            left, since = self._buckets.get(token_id, (self._most, now))
            left = min(self._most, left + (now - since) * self._per_s)
            allowed = left >= 1
            self._buckets[token_id] = (left - allowed, now)
            return 0.0 if allowed else (1 - left) / self._per_s
