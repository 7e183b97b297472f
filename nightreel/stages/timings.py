"""The time of a run: busy seconds by stage, and how long decoder and model were busy at the same time."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StageTimings:
    """A clock that many threads share.

    It counts, for each stage, the seconds in which at least one thread was in it, so that no stage exceeds the run's
    wall time. It counts the seconds in which both `decode` and `model` were busy: the overlap that a pipeline aims for.
    It counts the seconds in which no stage that works on videos was busy: the cost of orchestration and database.
    A stage "model.vision" counts for "model" too.
    """

    _OVERHEAD = frozenset({"database", "list"})

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        *,
        on_leave: Callable[[str, float], None] | None = None,
    ) -> None:
        """Start the clock.

        Args:
            on_leave: called when a thread leaves a stage, with the stage's name and the seconds in it.
        """
        self._clock = clock
        self._on_leave = on_leave
        self._lock = threading.Lock()
        self._active: Counter[str] = Counter()
        self._busy_s: defaultdict[str, float] = defaultdict(float)
        self._both_s = 0.0
        self._overhead_s = 0.0
        self._since = self._start = clock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        names = {name, name.split(".")[0]}
        entered = self._change(names, +1)
        try:
            yield
        finally:
            left = self._change(names, -1)
            if self._on_leave:
                self._on_leave(name, left - entered)

    def _change(self, names: set[str], by: int) -> float:
        """Count a thread that enters or leaves; returns the time."""
        with self._lock:
            now = self._clock()
            elapsed, self._since = now - self._since, now
            busy = [name for name, threads in self._active.items() if threads]
            for name in busy:
                self._busy_s[name] += elapsed
            if "decode" in busy and "model" in busy:
                self._both_s += elapsed
            if not set(busy) - self._OVERHEAD:
                self._overhead_s += elapsed
            for name in names:
                self._active[name] += by
        return now

    def busy_s(self) -> dict[str, float]:
        """Seconds by stage so far."""
        self._change(set(), 0)
        with self._lock:
            return dict(self._busy_s)

    def report(self) -> dict[str, float]:
        """Seconds by stage, `overlap` (decode and model together), `overhead` (no work on videos) and `total`."""
        busy = {name: round(seconds, 3) for name, seconds in sorted(self.busy_s().items())}
        return busy | {
            "overlap": round(self._both_s, 3),
            "overhead": round(self._overhead_s, 3),
            "total": round(self._since - self._start, 3),
        }
