"""Memory that a run holds: its slots are renewed by a thread until they are given back. `leases` makes one."""

from __future__ import annotations

import logging
import threading
import time
from uuid import UUID

from nightreel.database import memory_queue
from nightreel.database.connection import Database
from nightreel.errors import NightreelError, PermanentError, TransientError
from nightreel.orchestration.memory_limits import MemoryLimits

REPOSSESSED_S = 20.0
"""Slots whose lease ran out are free within so long: Prefect looks every 15 seconds."""
SILENT = 1 / 3
"""Of a lease's time: who holds memory and missed two renewals is taken for dead by those in the line."""
_RENEWALS = 6  # in the time of a lease
_AGAIN_S = 1.0

logger = logging.getLogger("nightreel.leases")


class HeldMemory:
    """See `nightreel.stages.leasing.Lease`.

    Args:
        lease_id, names: what was taken of Prefect's limits.
        ticket: its row in the line, which lives as long as the slots are taken.
    """

    def __init__(
        self, limits: MemoryLimits, database: Database, *, lease_id: UUID, names: tuple[str, ...], ticket: int
    ) -> None:
        self.limits = names
        self._limits, self._database = limits, database
        self._lease_id, self._ticket = lease_id, ticket
        self._ends_at = time.monotonic() + limits.lease_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="memory-lease", daemon=True)
        self._thread.start()

    def ensure_held(self) -> None:
        if time.monotonic() > self._ends_at:
            raise TransientError(
                "memory_lease_lost",
                f"the lease on {', '.join(self.limits)} ran out, and others may have the memory by now: was the "
                f"Prefect server away for {self._limits.lease_s:.0f} s? The next run goes on",
            )

    def close(self) -> bool:
        """Give the slots back; False where the server is away: then they come back when the lease has run out."""
        self._stop.set()
        self._thread.join()
        give_up_at = time.monotonic() + self._limits.lease_s / 2
        while True:
            try:
                self._limits.give_back(self._lease_id)
                return True
            except TransientError as error:
                if time.monotonic() > give_up_at:
                    logger.warning("memory of %s was not given back: %s", ", ".join(self.limits), error)
                    return False
            time.sleep(_AGAIN_S)

    def _keep(self) -> None:
        lease_s = self._limits.lease_s
        pause = lease_s / _RENEWALS
        while not self._stop.wait(pause):
            asked_at = time.monotonic()
            try:
                self._limits.renew(self._lease_id)
            except (TransientError, PermanentError) as error:
                logger.warning("the lease on %s was not renewed: %s", ", ".join(self.limits), error)
                if isinstance(error, PermanentError):
                    self._ends_at = 0.0
                    return
                pause = _AGAIN_S
                continue
            self._ends_at, pause = asked_at + lease_s, lease_s / _RENEWALS
            self._stay_in_line()

    def _stay_in_line(self) -> None:
        try:
            with self._database.begin() as connection:
                memory_queue.stay_in_line(connection, self._ticket, stay_s=self._limits.lease_s + REPOSSESSED_S)
        except NightreelError as error:  # others may misjudge their turn; what they get is for Prefect to say
            logger.warning("ticket %d was not extended: %s", self._ticket, error)
