"""Memory that a run holds: a thread renews its slots until they are given back. `leases` uses it."""

from __future__ import annotations

import logging
import threading
import time
from uuid import UUID

from nightreel.database import memory_queue
from nightreel.database.connection import Database
from nightreel.errors import NightreelError, PermanentError, TransientError
from nightreel.orchestration.memory_limits import MemoryLimits
from nightreel.reasons import Reason

REPOSSESSED_S = 20.0
"""Prefect frees the slots of an expired lease within this time: it checks every 15 seconds."""
SILENT = 1 / 3
"""Share of a lease's duration without a renewal (two are missed) after which the queue treats a holder as dead."""
_RENEWALS = 6  # per duration of a lease
_RETRY_S = 1.0
_GIVE_BACK_WITHIN_S = 10.0  # else the server frees the slots when the lease runs out

logger = logging.getLogger("nightreel.leases")


class HeldMemory:
    """See `nightreel.stages.device_lease.Lease`.

    Args:
        lease_id, names: Prefect's lease, and the limits whose slots it holds.
        ticket: its row in the queue, which exists while the slots are taken.
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
                Reason.MEMORY_LEASE_LOST,
                f"the lease on {', '.join(self.limits)} ran out, and another run may have taken the memory: check "
                f"whether the Prefect server was unreachable for {self._limits.lease_s:.0f} s. The next run continues",
            )

    def close(self) -> bool:
        """Give the slots back. False if the server does not respond: the slots are free when the lease runs out."""
        self._stop.set()
        self._thread.join()
        give_up_at = time.monotonic() + min(_GIVE_BACK_WITHIN_S, self._limits.lease_s / 2)
        while True:
            try:
                self._limits.give_back(self._lease_id)
                return True
            except TransientError as error:
                if time.monotonic() > give_up_at:
                    logger.warning("memory of %s was not given back: %s", ", ".join(self.limits), error)
                    return False
            time.sleep(_RETRY_S)

    def _keep(self) -> None:
        lease_s = self._limits.lease_s
        pause = lease_s / _RENEWALS
        while not self._stop.wait(pause):
            asked_at = time.monotonic()
            try:
                self._limits.renew(self._lease_id)
            except (TransientError, PermanentError) as error:
                level = logging.DEBUG if pause == _RETRY_S else logging.WARNING  # once for each outage
                logger.log(level, "the lease on %s was not renewed: %s", ", ".join(self.limits), error)
                if isinstance(error, PermanentError):
                    self._ends_at = 0.0
                    return
                pause = _RETRY_S
                continue
            self._ends_at, pause = asked_at + lease_s, lease_s / _RENEWALS
            self._extend_ticket()

    def _extend_ticket(self) -> None:
        try:
            with self._database.begin() as connection:
                memory_queue.extend_ticket(connection, self._ticket, valid_s=self._limits.lease_s + REPOSSESSED_S)
        except NightreelError as error:  # grants may come out of turn, but Prefect still counts the memory
            logger.warning("ticket %d was not extended: %s", self._ticket, error)
