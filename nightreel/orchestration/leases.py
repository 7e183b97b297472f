"""A run's lease of device memory: its place in the line, and the slots it takes when its turn comes.

`runtime` hands `lease_memory` to the workbench, which calls it before a model is loaded. Prefect counts the memory; the
line in Postgres says who is next, because Prefect alone starves the large beside the small.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import Connection

from nightreel.database import memory_queue
from nightreel.database.connection import Database
from nightreel.domain import MemoryRequest
from nightreel.errors import NightreelError, PermanentError
from nightreel.orchestration.admission import Place, held_mib, next_limits
from nightreel.orchestration.held_memory import REPOSSESSED_S, SILENT, HeldMemory
from nightreel.orchestration.memory_limits import MemoryLimits

LOOK_EVERY_S = 3.0
"""How often one that waits looks by himself: those who give memory back say so, those who are killed do not."""
_HEED_S = 0.5  # within so long one that waits notices that its run is to end
_AWAY_S = 10.0  # who has not looked for so long is out of the line: until then a dead one may hold others up
_TELL_EVERY_S = 60.0

Taken = tuple[UUID, tuple[str, ...]]  # Prefect's lease, and the limits it is of
logger = logging.getLogger("nightreel.leases")


@contextmanager
def lease_memory(
    request: MemoryRequest,
    *,
    limits: MemoryLimits,
    database: Database,
    run_id: int | None,
    closing: threading.Event,
    look_every_s: float = LOOK_EVERY_S,
) -> Iterator[HeldMemory]:
    """Wait for memory and hold it.

    Args:
        limits: of the flow run; it is called from a stage's thread, which knows neither run nor settings of Prefect.
        look_every_s: how often one that waits looks whether its turn has come, though nobody said so.

    Raises:
        PermanentError: `run_closed`: `closing` was set while this waited. `prefect_refused`, `memory_limit_gone`.
        TransientError: the database is away; `prefect_unreachable` before anything was waited for.
    """
    limits.ensure(request.capacities)
    waiting = _Waiting(request, limits=limits, database=database, run_id=run_id)
    given_back = True
    try:
        lease_id, names = waiting.wait(closing, look_every_s)
        held = HeldMemory(limits, database, lease_id=lease_id, names=names, ticket=waiting.ticket)
        try:
            yield held
        finally:
            given_back = held.close()
    finally:
        if given_back:
            waiting.leave()


def describe_wait(request: MemoryRequest, ticket: int, line: list[Place]) -> str:
    """Who one waits for, in a sentence."""
    free = ", ".join(f"{mib - held_mib(line, name)} of {name}" for name, mib in request.capacities.items())
    holders = [place for place in line if set(place.granted) & set(request.capacities)]
    held = ", ".join(f"{_name(place)} ({place.mib} MiB)" for place in holders)
    ahead = sum(place.ticket < ticket and not place.granted for place in line)
    return f"{request.mib} MiB wanted, {free} free; held by {held or 'nobody'}; {ahead} ahead in the line"


def _name(place: Place) -> str:
    return f"process {place.pid}" if place.run_id is None else f"run {place.run_id}"


class _Waiting:
    """A ticket that waits."""

    def __init__(self, request: MemoryRequest, *, limits: MemoryLimits, database: Database, run_id: int | None) -> None:
        self._request, self._limits, self._database, self._run_id = request, limits, database, run_id
        self._tell_at = 0.0
        self.ticket = self._join()

    def wait(self, closing: threading.Event, look_every_s: float) -> Taken:
        """Until the memory is taken."""
        look_at = 0.0
        with memory_queue.watch_line(self._database) as heard:
            while not closing.is_set():
                if time.monotonic() >= look_at:
                    if taken := self._look():
                        return taken
                    look_at = time.monotonic() + look_every_s
                if heard(_HEED_S):
                    look_at = 0.0
        raise PermanentError("run_closed", f"run {self._run_id} ended while it waited for {self._request.mib} MiB")

    def leave(self) -> None:
        with self._database.begin() as connection:
            memory_queue.leave_line(connection, self.ticket)

    def _look(self) -> Taken | None:
        """Take the memory if the turn has come."""
        with self._database.begin() as connection:
            here = memory_queue.stay_in_line(connection, self.ticket, stay_s=_AWAY_S)
            line = self._line(connection)
        if not here:  # this process slept for too long
            self.ticket = self._join()
            return None
        if next_limits(self.ticket, line, self._request.capacities) and (taken := self._take()):
            return taken
        if time.monotonic() > self._tell_at:
            logger.info("run %s waits: %s", self._run_id, describe_wait(self._request, self.ticket, line))
            self._tell_at = time.monotonic() + _TELL_EVERY_S
        return None

    def _line(self, connection: Connection) -> list[Place]:
        lease_s = self._limits.lease_s
        heard_of_s = lease_s + REPOSSESSED_S - SILENT * lease_s
        return memory_queue.read_line(connection, self._request.host, silent_below_s=heard_of_s)

    def _join(self) -> int:
        with self._database.begin() as connection:
            return memory_queue.join_line(
                connection, self._request, run_id=self._run_id, pid=os.getpid(), stay_s=_AWAY_S
            )

    def _take(self) -> Taken | None:
        """Take the memory if the turn is still ours while nobody else takes any."""
        lease_id = None
        try:
            with self._database.begin() as connection:
                memory_queue.take_turn(connection, self._request.host)
                line = self._line(connection)
                names = next_limits(self.ticket, line, self._request.capacities)
                if names and (lease_id := self._limits.take(names, self._request.mib)):
                    stay_s = self._limits.lease_s + REPOSSESSED_S
                    memory_queue.record_grant(connection, self.ticket, names, stay_s=stay_s)
        except NightreelError as error:
            if lease_id:
                self._limits.give_back(lease_id)
            if error.reason != "prefect_unreachable":
                raise
            logger.warning("run %s waits on: %s", self._run_id, error)
            return None
        return (lease_id, names) if lease_id else None
