"""Metrics of all runs from Postgres: waiting work, failures, ends of runs, leased memory, webhooks.

A scrape reads them, at most once every few seconds, with any number of scrapers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Connection, text

from nightreel.database.connection import Database
from nightreel.database.statements import statement
from nightreel.errors import NightreelError
from nightreel.metrics.labels import BoundedLabels

MOST_COUNTED = 1_000_000
"""The largest count of each kind of rows, so that the cost of a scrape does not grow with the backlog."""
_TIMEOUT_MS = 5_000
_REASONS = 100
_QUEUE = ("pending", "claimed", "failed", "quarantined", "partly_done")

logger = logging.getLogger(__name__)


class BacklogCollector(Collector):
    """Gauges read from the database.

    Args:
        every_s: maximum age of the numbers.
    """

    def __init__(
        self, database: Database, *, every_s: float = 15.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._families: list[GaugeMetricFamily] = []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        with self._lock:
            if self._read_at is None or self._clock() - self._read_at >= self._every_s:
                self._families = self._read()
                self._read_at = self._clock()
            yield from self._families

    def _read(self) -> list[GaugeMetricFamily]:
        up = GaugeMetricFamily("nightreel_database_up", "Whether Postgres responded.")
        try:
            with self._database.begin() as connection:
                connection.execute(text(f"SET LOCAL statement_timeout = {_TIMEOUT_MS}"))
                families = [*_queue(connection), *_runs(connection), *_leases(connection), *_webhooks(connection)]
        except NightreelError as error:
            logger.warning("metrics of the backlog are missing: %s", error)
            up.add_metric((), 0)
            return [up]
        up.add_metric((), 1)
        return [up, *families]


def _queue(connection: Connection) -> Iterator[GaugeMetricFamily]:
    queue = _gauge("analyses", f"Analyses that are not done, counted up to {MOST_COUNTED}.", "status")
    failed = _gauge("failed_analyses", "Analyses that failed for good or are partly done, by reason.", "reason")
    counts = dict.fromkeys(_QUEUE, 0)
    reasons: dict[str, int] = {}
    words = BoundedLabels(_REASONS)
    for row in connection.execute(statement("queue"), {"most": MOST_COUNTED}):  # the most frequent reasons first
        counts[row.status] += row.found
        if row.reason is not None:
            reason = words.admit(row.reason)
            reasons[reason] = reasons.get(reason, 0) + row.found
    for status, count in counts.items():
        queue.add_metric((status,), count)
    for reason, count in reasons.items():
        failed.add_metric((reason,), count)
    yield queue
    yield failed


def _runs(connection: Connection) -> Iterator[GaugeMetricFamily]:
    runs = _gauge("runs", "Runs by status.", "status")
    by_kind = _gauge(
        "last_finished_timestamp_seconds",
        "When the last run of a kind (night, retry, sweep, shard) and a status ended.",
        "kind",
        "status",
    )
    counts = Counter[str]()
    for row in connection.execute(statement("run_ends")):
        counts[row.status] += row.found
        if row.finished_at is not None:
            by_kind.add_metric((row.kind, row.status), row.finished_at.timestamp())
    for status, count in counts.items():
        runs.add_metric((status,), count)
    yield runs
    yield by_kind


def _leases(connection: Connection) -> Iterator[GaugeMetricFamily]:
    leased = _gauge("memory_leased_bytes", "Device memory that runs hold, by concurrency limit.", "limit")
    waiting = _gauge("memory_requests_waiting", "Runs that wait for device memory.")
    longest = _gauge("memory_longest_wait_seconds", "How long the first waiting run has waited.")
    row = connection.execute(statement("memory_queue")).one()
    for limit, mib in row.leased.items():
        leased.add_metric((limit,), mib * 2**20)
    waiting.add_metric((), row.waiting)
    longest.add_metric((), row.longest_s)
    yield leased
    yield waiting
    yield longest


def _webhooks(connection: Connection) -> Iterator[GaugeMetricFamily]:
    deliveries = _gauge(
        "webhook_deliveries", f"Events that wait for webhooks or are dead, up to {MOST_COUNTED}.", "state"
    )
    late = _gauge("webhook_longest_wait_seconds", "How long the oldest event that is due has waited for its webhook.")
    row = connection.execute(statement("webhook_backlog"), {"most": MOST_COUNTED}).one()
    deliveries.add_metric(("waiting",), row.waiting)
    deliveries.add_metric(("dead",), row.dead)
    late.add_metric((), row.late_s)
    yield deliveries
    yield late


def _gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"nightreel_{name}", about, labels=labels)
