"""Runs: registers them, keeps their claims alive, and recovers the claims of those that died.

A live run holds a session-level advisory lock on its id. The lock ends with the process in any case, so that the next
run detects immediately that a run was killed, and releases its claims. The expiry of claims covers what locks cannot: a
host that lost its network with the connection still open.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from nightreel.database import schema
from nightreel.database.claims import release_claims, renew_claims
from nightreel.database.connection import Database
from nightreel.errors import NightreelError

_LOCK_CLASS = 0x6E72 << 32  # separates our advisory locks from other programs' locks in the same database

logger = logging.getLogger(__name__)


class RunRegistration:
    """A row of `runs`, alive as long as this object: it holds the lock and renews the claims.

    Use it as a context manager. A block that ends without `finish` marks the run failed or cancelled and releases its
    claims.
    """

    def __init__(self, database: Database, *, lease_s: float, max_attempts: int, **row: Any) -> None:
        """Insert the run.

        Args:
            lease_s: seconds that a claim lasts without a renewal; it is renewed three times in that period.
            row: columns of `runs`: source, recipe_id, options, settings, environment, flow_run_id.
        """
        self._database = database
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        self._finished = False
        self._stop = threading.Event()
        with database.translated():
            self._connection = database.engine.connect()
            # One transaction for row and lock: no other session ever sees this run without its lock.
            with self._connection.begin():
                self.id: int = self._connection.execute(
                    insert(schema.runs).values(**row).returning(schema.runs.c.id)
                ).scalar_one()
                self._connection.execute(select(func.pg_advisory_lock(_LOCK_CLASS + self.id)))
        self._thread = threading.Thread(target=self._keep_alive, name=f"run-{self.id}-lease", daemon=True)
        self._thread.start()

    def __enter__(self) -> RunRegistration:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            if not self._finished:
                cancelled = kind is not None and not issubclass(kind, Exception)
                self.finish("cancelled" if cancelled else "failed", error=None if error is None else str(error)[:2000])
        finally:
            self._stop.set()
            self._thread.join()
            self._connection.invalidate()
            self._connection.close()

    def finish(
        self,
        status: str,
        *,
        counts: Mapping[str, Any] | None = None,
        timings: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        """Close the run and release its remaining claims."""
        with self._database.begin() as connection:
            release_claims(connection, run_id=self.id, max_attempts=self._max_attempts, charged=False)
            _close(connection, self.id, status=status, counts=counts, timings=timings, error=error)
        self._finished = True

    def _keep_alive(self) -> None:
        while not self._stop.wait(self._lease_s / 3):
            try:
                with self._database.begin() as connection:
                    renew_claims(connection, run_id=self.id, lease_s=self._lease_s)
                with self._connection.begin():
                    self._connection.execute(text("SELECT 1"))
            except (NightreelError, DBAPIError) as error:
                # Claims may now run out and other runs take them; the write stage checks this and skips those.
                logger.warning("run %d could not renew its claims: %s", self.id, error)


def recover_dead_runs(database: Database, *, max_attempts: int) -> list[int]:
    """Release the claims of runs whose process died, and claims that ran out.

    Returns:
        The ids of the dead runs, which are marked `crashed`.
    """
    dead = []
    with database.begin() as connection:
        running = connection.execute(select(schema.runs.c.id).where(schema.runs.c.status == "running")).scalars().all()
        for run_id in running:
            key = _LOCK_CLASS + run_id
            if connection.execute(select(func.pg_try_advisory_xact_lock(key))).scalar_one():
                release_claims(connection, run_id=run_id, max_attempts=max_attempts, charged=True)
                _close(connection, run_id, status="crashed", error="its process died without an error message")
                dead.append(run_id)
        release_claims(connection, run_id=None, max_attempts=max_attempts, charged=True)
    return dead


def record_environment(connection: Connection, run_id: int, environment: Mapping[str, Any]) -> None:
    """Replace the recorded facts about the machine of a run."""
    connection.execute(update(schema.runs).where(schema.runs.c.id == run_id).values(environment=environment))


def _close(connection: Connection, run_id: int, **values: Any) -> None:
    connection.execute(
        update(schema.runs)
        .where(schema.runs.c.id == run_id, schema.runs.c.status == "running")
        .values(finished_at=func.now(), **values)
    )
