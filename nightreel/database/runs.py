"""Runs: registers them, keeps them and their claims alive, and recovers the claims of those that died.

A run is alive as long as its heartbeats move `alive_until` ahead of the clock of Postgres. This is the only sign of
life. It needs nothing of a session, so it is the same behind a connection pooler, and it survives a lost connection and
a restart of Postgres.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, insert, or_, select, text, update
from sqlalchemy.exc import DBAPIError

from nightreel.backoff import backoff_s
from nightreel.database import schema
from nightreel.database.claims import blame, release_claims, renew_claims
from nightreel.database.connection import Database
from nightreel.database.statements import statement
from nightreel.environment import has_restarted_since
from nightreel.errors import NightreelError, TransientError

_BEATS = 3  # heartbeats in the time for which a run counts as alive without one
_AGAIN_S = 1.0  # until the next try of a heartbeat that failed: after an outage, living runs must be the first to write
_LONGEST_WAIT_S = 5.0  # between tries to record the end of a run

_runs = schema.runs
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A run that has ended, at `finished_at`. `counts`: as `RunSummary.to_json`, or fewer; `version`: of Nightreel."""

    run_id: int
    name: str | None
    status: str
    recipe_id: int
    model: str
    version: str | None
    counts: Mapping[str, Any]
    finished_at: datetime | None = None


class RunRegistration:
    """A row of `runs`, alive as long as this object: a thread sends its heartbeats and renews its claims.

    Use it as a context manager. A block that ends without `finish` marks the run failed or cancelled and releases its
    claims.
    """

    def __init__(
        self, database: Database, *, lease_s: float, check: Callable[[Connection], None] = lambda _: None, **row: Any
    ) -> None:
        """Insert the run.

        Args:
            check: called in the same transaction, before that; raises if the run must not start.
            lease_s: seconds for which the run and its claims last without a heartbeat; it sends three in that time.
            row: columns of `runs`: name, source, recipe_id, options, settings, environment, flow_run_id.
        """
        self._database = database
        self._lease_s = lease_s
        self._finished = self._taken_for_dead = False
        self._stop = threading.Event()
        with database.begin() as connection:
            check(connection)
            self.id: int = connection.execute(
                insert(_runs).values(alive_until=_in(lease_s), **row).returning(_runs.c.id)
            ).scalar_one()
        self._thread = threading.Thread(target=self._keep_alive, name=f"run-{self.id}-heartbeats", daemon=True)
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

    def finish(
        self,
        status: str,
        *,
        counts: Mapping[str, Any] | None = None,
        timings: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        """Close the run and release its remaining claims. Corrects the row of a run that was taken for dead.

        Waits for a Postgres that does not respond, as long as the run counts as alive: after that, its videos would be
        suspects.
        """
        give_up_at = time.monotonic() + self._lease_s
        failures = 0
        while not self._finished:
            try:
                self._finish(status=status, counts=counts, timings=timings, error=error)
            except TransientError as problem:
                failures += 1
                wait_s = min(backoff_s(failures, first_s=1.0), _LONGEST_WAIT_S)
                if time.monotonic() + wait_s > give_up_at:
                    raise
                logger.warning("run %d cannot record its end and tries again: %s", self.id, problem)
                time.sleep(wait_s)

    def _finish(self, **values: Any) -> None:
        with self._database.begin() as connection:
            connection.execute(
                update(_runs)
                .where(_runs.c.id == self.id, _runs.c.status.in_(("running", "crashed")))
                .values(finished_at=func.now(), **values)
            )
            release_claims(connection, run_id=self.id)
        self._finished = True

    def _keep_alive(self) -> None:
        every_s = self._lease_s / _BEATS
        pause_s = every_s
        while not self._stop.wait(pause_s):
            try:
                self._beat()
                pause_s = every_s
            except (NightreelError, DBAPIError) as error:
                # Other runs may now take the claims; the write stage checks this and skips those.
                pause_s = min(_AGAIN_S, every_s)
                logger.warning("run %d could not send its heartbeat: %s", self.id, error)

    def _beat(self) -> None:
        with self._database.begin() as connection:  # alone: claims may be locked for as long as a chunk is written
            alive = connection.execute(
                update(_runs)
                .where(_runs.c.id == self.id, _runs.c.status == "running")
                .values(alive_until=_in(self._lease_s))
            ).rowcount
        if not alive and not self._finished and not self._taken_for_dead:
            self._taken_for_dead = True
            logger.warning(
                "run %d sent no heartbeat for %.0f s and was taken for dead: other runs may have taken its videos",
                self.id,
                self._lease_s,
            )
        with self._database.begin() as connection:
            renew_claims(connection, run_id=self.id, lease_s=self._lease_s)


def recover_dead_runs(database: Database, *, max_crashes: int) -> list[int]:
    """Release the claims of runs whose heartbeats stopped, and claims that ran out.

    A run whose host has started again since was not killed by its video.

    Args:
        max_crashes: runs that a video may kill before it is quarantined.

    Returns:
        The ids of the dead runs, which are marked `crashed`.
    """
    silent = or_(_runs.c.alive_until.is_(None), _runs.c.alive_until < func.now())
    with database.begin() as connection:
        # A locked row is skipped: a heartbeat is about to move it, or another process recovers it.
        dead = connection.execute(
            select(_runs.c.id, _runs.c.environment)
            .where(_runs.c.status == "running", silent)
            .order_by(_runs.c.id)
            .with_for_update(key_share=True, skip_locked=True)
        ).all()
        ids = [row.id for row in dead]
        connection.execute(
            update(_runs)
            .where(_runs.c.id.in_(ids))
            .values(status="crashed", finished_at=func.now(), error="it sent no more heartbeats: its process died")
        )
        for row in dead:
            blame(connection, run_id=row.id, max_crashes=max_crashes, charged=not has_restarted_since(row.environment))
        release_claims(connection, run_id=None)
    return ids


class LifeSigns:
    """Tells whether other runs live, by watching them: a run that sends a heartbeat meanwhile is alive.

    A run that was killed a moment ago looks alive until `alive_until` has passed. So a run that could end, but for
    work that others hold, watches them for that long.
    """

    def __init__(self) -> None:
        self._first_seen: dict[int, datetime] = {}

    def undecided_s(self, connection: Connection, run_ids: Collection[int]) -> float | None:
        """Seconds until the last of these runs either has sent a heartbeat or is dead; None if all are alive."""
        rows = connection.execute(
            select(
                _runs.c.id, _runs.c.alive_until, func.extract("epoch", _runs.c.alive_until - func.now()).label("left_s")
            ).where(_runs.c.id.in_(run_ids), _runs.c.status == "running", _runs.c.alive_until.is_not(None))
        ).all()
        new = [row for row in rows if row.id not in self._first_seen]
        self._first_seen |= {row.id: row.alive_until for row in new}
        left = [float(row.left_s) for row in rows if self._first_seen[row.id] == row.alive_until]
        if new:
            names = ", ".join(str(row.id) for row in new)
            logger.info("waiting for a heartbeat of run %s, for %.0f s at most: it holds videos", names, max(left))
        return max(0.0, *left) if left else None


def read_run_before(connection: Connection, run_id: int) -> PastRun | None:
    """The last run before this one of the same kind (night, analyze, ...) and source that ended with counts."""
    row = connection.execute(statement("run_before"), {"run_id": run_id}).one_or_none()
    return None if row is None else PastRun(**row._mapping)


def read_last_night(connection: Connection) -> PastRun | None:
    """The newest night that ended with counts; where there was none, the newest run that a person started."""
    row = connection.execute(statement("last_night")).one_or_none()
    return None if row is None else PastRun(**row._mapping)


def any_died_during(connection: Connection, run_id: int) -> bool:
    """Whether a run was found dead since this one was registered."""
    own = select(_runs.c.started_at).where(_runs.c.id == run_id).scalar_subquery()
    dead = exists().where(_runs.c.status == "crashed", _runs.c.finished_at >= own)
    return bool(connection.execute(select(dead)).scalar_one())


def record_environment(connection: Connection, run_id: int, environment: Mapping[str, Any]) -> None:
    """Add facts about the machine of a run to those that are recorded; a fact of the same name is replaced."""
    merged = _runs.c.environment.concat(environment)
    connection.execute(update(_runs).where(_runs.c.id == run_id).values(environment=merged))


def _in(seconds: float) -> ColumnElement[datetime]:
    return func.now() + text("make_interval(secs => :in_s)").bindparams(in_s=seconds)
