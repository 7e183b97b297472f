"""Counts of one run and durations of its stages, for its summary, for Postgres and for Prometheus.

All stages of a run share one recorder.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry

from nightreel.domain import Answer, ChunkCounts
from nightreel.metrics import RunMetrics
from nightreel.stages.timings import StageTimings


class RunRecorder:
    """Counts and timings of a run. Thread-safe."""

    def __init__(self) -> None:
        self._metrics = RunMetrics()
        self._timings = StageTimings(on_leave=self._metrics.observe_stage)
        self._metrics.show_busy_seconds(self._timings.busy_s)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def registry(self) -> CollectorRegistry:
        """The registry that Prometheus scrapes."""
        return self._metrics.registry

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Measure the block as part of a stage. See `StageTimings`."""
        return self._timings.stage(name)

    def count(self, name: str, by: int = 1) -> None:
        """Count work: videos fetched, segments decoded or encoded, features evicted. A count of 0 is no work."""
        if not by:
            return
        with self._lock:
            self._counts[name] += by
        self._metrics.count(name, by)

    def written(self, counts: ChunkCounts, answers: Iterable[Answer]) -> None:
        """Count a committed chunk."""
        self._metrics.written(counts, answers)

    def report(self) -> tuple[dict[str, int], dict[str, float]]:
        """The counts of work, and the seconds by stage of `StageTimings.report`."""
        with self._lock:
            counts = dict(sorted(self._counts.items()))
        return counts, self._timings.report()
