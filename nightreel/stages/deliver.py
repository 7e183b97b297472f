"""Deliver: send the events of the outbox to their webhooks. The flow `deliver-webhooks` and the command do it.

Repeating it sends nothing twice, except what a process was sending when it died: receivers know these by their
`webhook-id`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_network

from sqlalchemy import Connection

from nightreel.backoff import backoff_s
from nightreel.database.connection import Database
from nightreel.database.webhook_outbox import (
    Delivery,
    delete_ended,
    disable_webhook,
    drop,
    due_webhooks,
    forget_old_secrets,
    lock_next,
    pause_webhook,
    record_delivered,
    record_failed,
)
from nightreel.errors import NightreelError
from nightreel.settings import Settings
from nightreel.units import counted
from nightreel.webhooks import Allowed, Response, send

logger = logging.getLogger(__name__)

_FIRST_WAIT_S = 20.0  # at most, after the first failed attempt; grows fourfold with each
_MOST_WAIT_S = 12 * 3600.0
_LONGEST_PAUSE_S = 3600.0
"""That a receiver can ask for with Retry-After: one that is wrong, or hostile, does not hold up its events for days."""
_FAILURES_IN_A_ROW = 3
_THREADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What a pass did with deliveries that were due."""

    delivered: int = 0
    failed: int = 0
    dead: int = 0
    dropped: int = 0

    @property
    def tried(self) -> int:
        return self.delivered + self.failed + self.dead + self.dropped

    def __str__(self) -> str:
        """
        >>> str(Delivered(delivered=2, dead=1)), str(Delivered())
        ('2 events delivered, 1 dead', 'nothing was due')
        """
        words = {"will be tried again": self.failed, "dead": self.dead, "dropped": self.dropped}
        if not self.tried:
            return "nothing was due"
        return ", ".join(
            [
                f"{counted(self.delivered, 'event')} delivered",
                *(f"{count} {word}" for word, count in words.items() if count),
            ]
        )


def allowed_by(settings: Settings) -> Allowed:
    """Where these settings let webhooks be sent."""
    networks = tuple(ip_network(text) for text in settings.webhook_networks)
    return Allowed(networks=networks, http=settings.webhook_http)


def deliver_due(
    database: Database, settings: Settings, *, is_over: Callable[[], bool] = lambda: False, threads: int = _THREADS
) -> Delivered:
    """Send what is due, and delete old deliveries.

    Webhooks take turns. One that fails three times in a row gets nothing more in this pass: a receiver that is down, or
    that has many events, does not hold up the others.

    Args:
        is_over: asked before each delivery; true ends the pass.
        threads: deliveries that are sent at the same time.
    """
    with database.begin() as connection:
        webhooks = due_webhooks(connection)
    one = _Pass(database, settings, webhooks)
    with ThreadPoolExecutor(threads, thread_name_prefix="deliver") as pool:
        for done in [pool.submit(one.work, is_over) for _ in range(threads)]:
            done.result()
    with database.begin() as connection:
        delete_ended(connection, keep_days=settings.webhook_keep_days)
        forget_old_secrets(connection)
    return Delivered(**one.ends)


def watch(
    database: Database,
    settings: Settings,
    *,
    every_s: float,
    on_pass: Callable[[Delivered], None],
    stop: threading.Event,
) -> None:
    """Send what is due until `stop` is set: a pass, then a pause. An error of the database is logged and waited out."""
    while not stop.is_set():
        try:
            done = deliver_due(database, settings, is_over=stop.is_set)
        except NightreelError as error:
            logger.warning("webhooks are not delivered for now: %s", error)
        else:
            if done.tried:
                on_pass(done)
        stop.wait(every_s)


class _Pass:
    """What the threads of a pass share: how deliveries ended, and the webhooks that still take turns."""

    def __init__(self, database: Database, settings: Settings, webhooks: Sequence[int]) -> None:
        self.ends: Counter[str] = Counter()
        self._database = database
        self._attempts = settings.webhook_attempts
        self._allowed = allowed_by(settings)
        self._lock = threading.Lock()
        self._turns = list(webhooks)
        self._turn = 0
        self._failures: Counter[int] = Counter()

    def work(self, is_over: Callable[[], bool]) -> None:
        while not is_over() and (webhook_id := self._next_turn()) is not None:
            if not self._deliver_next(webhook_id):
                self._end_turns(webhook_id)

    def _next_turn(self) -> int | None:
        with self._lock:
            if not self._turns:
                return None
            self._turn = (self._turn + 1) % len(self._turns)
            return self._turns[self._turn]

    def _end_turns(self, webhook_id: int) -> None:
        with self._lock:
            if webhook_id in self._turns:
                self._turns.remove(webhook_id)

    def _deliver_next(self, webhook_id: int) -> bool:
        """Send the next delivery of a webhook. Returns whether it may get another one in this pass."""
        with self._database.begin() as connection:
            delivery = lock_next(connection, webhook_id)
            if delivery is None:
                return False
            if delivery.is_forbidden:
                drop(connection, delivery, why="the video is restricted")
                end = "dropped"
            else:
                response, error = self._send(delivery)
                end = self._record(connection, delivery, response, error)
        return self._count(webhook_id, end)

    def _record(self, connection: Connection, delivery: Delivery, response: Response | None, error: str) -> str:
        """Write what became of a delivery. Returns how it ended: delivered, failed or dead."""
        if response is not None and response.is_success:
            record_delivered(connection, delivery, status=response.status)
            return "delivered"
        is_gone = response is not None and response.is_gone
        is_last = is_gone or delivery.attempts + 1 >= self._attempts
        end = "dead" if is_last else "failed"
        record_failed(
            connection,
            delivery,
            status=response.status if response else None,
            error=error,
            wait_s=None if is_last else _wait_s(delivery.attempts + 1),
        )
        if response is not None and response.retry_after_s:
            pause_webhook(connection, delivery.webhook_id, for_s=min(response.retry_after_s, _LONGEST_PAUSE_S))
        if is_gone:
            disable_webhook(connection, delivery.webhook_id, why="its receiver answered 410 Gone")
        logger.warning("event %s for webhook %d: %s: %s", delivery.event_id, delivery.webhook_id, end, error)
        return end

    def _send(self, delivery: Delivery) -> tuple[Response | None, str]:
        """The response and what is wrong with it."""
        try:
            response = send(
                delivery.url,
                delivery.secrets,
                message_id=delivery.event_id,
                payload=delivery.payload,
                allowed=self._allowed,
            )
        except NightreelError as error:
            return None, str(error)
        return response, f"the receiver answered {response.status}"

    def _count(self, webhook_id: int, end: str) -> bool:
        """Count how a delivery ended. Returns whether its webhook failed less than three times in a row."""
        with self._lock:
            self.ends[end] += 1
            if end == "delivered":
                self._failures[webhook_id] = 0
            elif end != "dropped":
                self._failures[webhook_id] += 1
            return self._failures[webhook_id] < _FAILURES_IN_A_ROW


def _wait_s(failures: int) -> float:
    return backoff_s(failures, first_s=_FIRST_WAIT_S, factor=4, most_s=_MOST_WAIT_S)


def over_after(seconds: float) -> Callable[[], bool]:
    """Says when a pass has lasted for this long."""
    end_s = time.monotonic() + seconds
    return lambda: time.monotonic() >= end_s
