"""A run's lease of device memory: its request in the queue, and the slots that it takes when the request is granted.

`runs` passes `lease_memory` to the stages, which call it before they load a model. Prefect counts the memory. The queue
in Postgres decides which request is next, because Prefect alone lets small requests starve large ones.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import Connection

from nightreel.database import memory_queue
from nightreel.database.connection import Database
from nightreel.domain import MemoryRequest, QueuedRequest
from nightreel.errors import NightreelError, PermanentError
from nightreel.orchestration.admission import held_mib, next_limits
from nightreel.orchestration.held_memory import REPOSSESSED_S, SILENT, HeldMemory
from nightreel.orchestration.memory_limits import MemoryLimits
from nightreel.reasons import Reason

LOOK_EVERY_S = 3.0
"""How often a waiting request checks its turn. Killed processes give memory back without a notification."""
_HEED_S = 0.5  # a waiting request notices within this time that it must stop
_TICKET_S = 10.0  # a ticket that is not extended for this long leaves the queue: a dead process blocks it no longer
_LOG_EVERY_S = 60.0

Taken = tuple[UUID, tuple[str, ...]]  # Prefect's lease, and its limits
logger = logging.getLogger("nightreel.leases")


@contextmanager
def lease_memory(
    request: MemoryRequest,
    *,
    limits: MemoryLimits,
    database: Database,
    run_id: int | None,
    why_stop: Callable[[], str | None] = lambda: None,
    look_every_s: float = LOOK_EVERY_S,
) -> Iterator[HeldMemory]:
    """Wait for memory and hold it.

    Args:
        limits: of the flow run. A stage's thread calls this, and has neither the flow run nor Prefect's settings.
        why_stop: called twice a second during the wait; returns why the wait ends, or None.
        look_every_s: how often a waiting request checks its turn without a notification.

    Raises:
        PermanentError: `run_closed`: the wait ended. `prefect_refused`, `memory_limit_gone`.
        TransientError: the database does not respond. While Prefect does not respond, the request waits.
    """
    waiting = _Waiting(request, limits=limits, database=database, run_id=run_id)
    given_back = True
    try:
        lease_id, names = waiting.wait(why_stop, look_every_s)
        held = HeldMemory(limits, database, lease_id=lease_id, names=names, ticket=waiting.ticket)
        try:
            yield held
        finally:
            given_back = held.close()
    finally:
        if given_back:
            waiting.leave()


def describe_wait(request: MemoryRequest, ticket: int, queue: list[QueuedRequest]) -> str:
    """Describe in a sentence why a request waits."""
    free = ", ".join(f"{mib - held_mib(queue, name)} of {name}" for name, mib in request.capacities.items())
    holders = [item for item in queue if set(item.granted) & set(request.capacities)]
    held = ", ".join(f"{_holder(item)} ({item.mib} MiB)" for item in holders)
    ahead = sum(item.ticket < ticket and not item.granted for item in queue)
    return f"{request.mib} MiB requested, {free} free; held by {held or 'no run'}; {ahead} ahead in the queue"


def _holder(item: QueuedRequest) -> str:
    return f"process {item.pid}" if item.run_id is None else f"run {item.run_id}"


class _Waiting:
    """A request that waits in the queue."""

    def __init__(self, request: MemoryRequest, *, limits: MemoryLimits, database: Database, run_id: int | None) -> None:
        self._request, self._limits, self._database, self._run_id = request, limits, database, run_id
        self._log_at = 0.0
        self._limits_exist = False
        self.ticket = self._enqueue()

    def wait(self, why_stop: Callable[[], str | None], look_every_s: float) -> Taken:
        """Wait until the memory is taken."""
        look_at = 0.0
        with memory_queue.watch_queue(self._database) as changed:
            while (why := why_stop()) is None:
                if time.monotonic() >= look_at:
                    if taken := self._look():
                        return taken
                    look_at = time.monotonic() + look_every_s
                if changed(_HEED_S):
                    look_at = 0.0
        raise PermanentError(Reason.RUN_CLOSED, f"the wait for {self._request.mib} MiB of device memory ended: {why}")

    def leave(self) -> None:
        with self._database.begin() as connection:
            memory_queue.leave_queue(connection, self.ticket)

    def _look(self) -> Taken | None:
        """Take the memory if it is this request's turn."""
        with self._database.begin() as connection:
            queued = memory_queue.extend_ticket(connection, self.ticket, valid_s=_TICKET_S)
            queue = self._read(connection)
        if not queued:  # the ticket expired: this process was suspended for too long
            self.ticket = self._enqueue()
            return None
        if next_limits(self.ticket, queue, self._request.capacities) and (taken := self._take()):
            return taken
        if time.monotonic() > self._log_at:
            logger.info("run %s waits: %s", self._run_id, describe_wait(self._request, self.ticket, queue))
            self._log_at = time.monotonic() + _LOG_EVERY_S
        return None

    def _read(self, connection: Connection) -> list[QueuedRequest]:
        lease_s = self._limits.lease_s
        silent_below_s = lease_s + REPOSSESSED_S - SILENT * lease_s
        return memory_queue.read_queue(connection, self._request.host, silent_below_s=silent_below_s)

    def _enqueue(self) -> int:
        with self._database.begin() as connection:
            return memory_queue.enqueue(
                connection, self._request, run_id=self._run_id, pid=os.getpid(), valid_s=_TICKET_S
            )

    def _take(self) -> Taken | None:
        """Take the memory if it is still this request's turn, under the lock of the queue."""
        lease_id = None
        try:
            if not self._limits_exist:
                self._limits.ensure(self._request.capacities)
                self._limits_exist = True
            with self._database.begin() as connection:
                memory_queue.lock_queue(connection, self._request.host)
                queue = self._read(connection)
                names = next_limits(self.ticket, queue, self._request.capacities)
                mib = min(map(self._request.mib_of, names), default=0)
                if names and (lease_id := self._limits.take(names, mib)):
                    valid_s = self._limits.lease_s + REPOSSESSED_S
                    memory_queue.record_grant(connection, self.ticket, names, mib=mib, valid_s=valid_s)
        except NightreelError as error:
            if lease_id:
                self._limits.give_back(lease_id)
            if error.reason is not Reason.PREFECT_UNREACHABLE:
                raise
            logger.warning("run %s keeps waiting: %s", self._run_id, error)
            return None
        return (lease_id, names) if lease_id else None
