"""The queue of memory requests of each host, waiting or granted: rows that expire when their process stops renewing.

`orchestration.leases` uses it, `nightreel gpu` shows it. Prefect counts the memory itself; the queue decides which
request is next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
from sqlalchemy import Connection, delete, func, insert, select, text, update

from nightreel.database import schema
from nightreel.database.connection import Database, is_pooled
from nightreel.domain import MemoryRequest, QueuedRequest
from nightreel.errors import TransientError
from nightreel.reasons import Reason

_CHANNEL = "nightreel_memory"
_leases, _runs = schema.memory_leases, schema.runs


def enqueue(connection: Connection, request: MemoryRequest, *, run_id: int | None, pid: int, valid_s: float) -> int:
    """Add a request, and remove expired tickets. Returns its ticket, valid for `valid_s` unless it is extended."""
    connection.execute(delete(_leases).where(_leases.c.expires_at < func.now()))
    ticket: int = connection.execute(
        insert(_leases)
        .values(
            host=request.host,
            limits=list(request.capacities),
            mib=request.mib,
            spread=request.spread,
            run_id=run_id,
            pid=pid,
            expires_at=func.now() + timedelta(seconds=valid_s),
        )
        .returning(_leases.c.id)
    ).scalar_one()
    return ticket


def extend_ticket(connection: Connection, ticket: int, *, valid_s: float) -> bool:
    """Extend a ticket. Returns False if it expired and was removed."""
    changed = connection.execute(
        update(_leases).where(_leases.c.id == ticket).values(expires_at=func.now() + timedelta(seconds=valid_s))
    )
    return changed.rowcount == 1


def leave_queue(connection: Connection, ticket: int) -> None:
    """Remove a request, and notify the watchers of the queue."""
    connection.execute(delete(_leases).where(_leases.c.id == ticket))
    _notify(connection)


def record_grant(connection: Connection, ticket: int, limits: tuple[str, ...], *, mib: int, valid_s: float) -> None:
    """Record that a request was granted `mib` of each limit, and notify the watchers of the queue."""
    _notify(connection)
    connection.execute(
        update(_leases)
        .where(_leases.c.id == ticket)
        .values(
            granted=list(limits),
            mib=mib,
            granted_at=func.now(),
            expires_at=func.now() + timedelta(seconds=valid_s),
        )
    )


def read_queue(connection: Connection, host: str | None = None, *, silent_below_s: float = 0.0) -> list[QueuedRequest]:
    """The requests with valid tickets of a host (None: of all hosts), in the order of tickets.

    Args:
        silent_below_s: a granted request whose ticket is valid for less time than this counts as silent.
    """
    here = _leases.c.host == host if host else text("true")
    silent = (_leases.c.expires_at < func.now() + timedelta(seconds=silent_below_s)).label("silent")
    rows = connection.execute(
        select(_leases, silent, _runs.c.name.label("run_name"), _runs.c.night_id)
        .outerjoin(_runs, _runs.c.id == _leases.c.run_id)
        .where(here, _leases.c.expires_at > func.now())
        .order_by(_leases.c.id)
    )
    return [
        QueuedRequest(
            ticket=row.id,
            limits=tuple(row.limits),
            mib=row.mib,
            spread=row.spread,
            granted=tuple(row.granted),
            silent=bool(row.granted) and row.silent,
            run_id=row.run_id,
            run_name=row.run_name,
            night_id=row.night_id,
            pid=row.pid,
            requested_at=row.requested_at,
            granted_at=row.granted_at,
        )
        for row in rows
    ]


def lock_queue(connection: Connection, host: str) -> None:
    """Lock the queue of a host until the end of the transaction, so that one request at a time takes memory."""
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"nightreel memory {host}", 0))))


@contextmanager
def watch_queue(database: Database) -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits until memory is granted or given back, at most for the given seconds.

    It returns whether that happened. Behind a connection pooler it never does, because notifications go to a session:
    a waiting request must also check by itself from time to time.

    Raises:
        TransientError: `database_unreachable`; the function raises it too.
    """
    with database.translated(), database.engine.connect() as connection:
        if is_pooled(connection):
            connection.close()
            yield _no_notification
            return
        connection.rollback()
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql(f"LISTEN {_CHANNEL}")
        driver = connection.connection.driver_connection
        assert driver is not None

        def wait(timeout_s: float) -> bool:
            try:
                return any(True for _ in driver.notifies(timeout=timeout_s, stop_after=1))
            except psycopg.OperationalError as error:
                raise TransientError(Reason.DATABASE_UNREACHABLE, f"{database}: {error}") from error

        try:
            yield wait
        finally:
            connection.invalidate()  # the pool must not hand out a connection that listens


def _no_notification(timeout_s: float) -> bool:
    time.sleep(timeout_s)
    return False


def _notify(connection: Connection) -> None:
    connection.execute(select(func.pg_notify(_CHANNEL, "")))
