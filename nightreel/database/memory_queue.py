"""The line of those who wait for, or hold, memory of a host's devices: rows that vanish when their run does.

`orchestration.leases` keeps it, `nightreel gpu` shows it. The memory itself is counted by Prefect: here is who is next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
from sqlalchemy import Connection, delete, func, insert, select, text, update

from nightreel.database import schema
from nightreel.database.connection import Database
from nightreel.domain import MemoryRequest
from nightreel.errors import TransientError
from nightreel.orchestration.admission import Place

_CHANNEL = "nightreel_memory"
_leases = schema.memory_leases


def join_line(connection: Connection, request: MemoryRequest, *, run_id: int | None, pid: int, stay_s: float) -> int:
    """Take a ticket, good for `stay_s` unless it is extended. Tickets that ran out are removed."""
    connection.execute(delete(_leases).where(_leases.c.expires_at < func.now()))
    return connection.execute(
        insert(_leases)
        .values(
            host=request.host,
            limits=list(request.capacities),
            mib=request.mib,
            spread=request.spread,
            run_id=run_id,
            pid=pid,
            expires_at=func.now() + timedelta(seconds=stay_s),
        )
        .returning(_leases.c.id)
    ).scalar_one()


def stay_in_line(connection: Connection, ticket: int, *, stay_s: float) -> bool:
    """Extend a ticket; False where it ran out and is gone."""
    changed = connection.execute(
        update(_leases).where(_leases.c.id == ticket).values(expires_at=func.now() + timedelta(seconds=stay_s))
    )
    return changed.rowcount == 1


def leave_line(connection: Connection, ticket: int) -> None:
    """Give the ticket back, and let those who watch know."""
    connection.execute(delete(_leases).where(_leases.c.id == ticket))
    _notify(connection)


def record_grant(connection: Connection, ticket: int, limits: tuple[str, ...], *, stay_s: float) -> None:
    """Write down that a request was served, and let those who watch know."""
    _notify(connection)
    connection.execute(
        update(_leases)
        .where(_leases.c.id == ticket)
        .values(granted=list(limits), granted_at=func.now(), expires_at=func.now() + timedelta(seconds=stay_s))
    )


def read_line(connection: Connection, host: str | None = None, *, silent_below_s: float = 0.0) -> list[Place]:
    """The living of a host (None: of all), in the order of their tickets.

    Args:
        silent_below_s: who holds memory and whose ticket ends within so long was silent for too long.
    """
    here = _leases.c.host == host if host else text("true")
    silent = (_leases.c.expires_at < func.now() + timedelta(seconds=silent_below_s)).label("silent")
    rows = connection.execute(
        select(_leases, silent).where(here, _leases.c.expires_at > func.now()).order_by(_leases.c.id)
    )
    return [
        Place(
            ticket=row.id,
            limits=tuple(row.limits),
            mib=row.mib,
            spread=row.spread,
            granted=tuple(row.granted),
            silent=bool(row.granted) and row.silent,
            run_id=row.run_id,
            pid=row.pid,
            requested_at=row.requested_at,
            granted_at=row.granted_at,
        )
        for row in rows
    ]


def take_turn(connection: Connection, host: str) -> None:
    """One at a time decides and takes, until the end of the transaction: what one sees is then true."""
    connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"nightreel memory {host}", 0))))


@contextmanager
def watch_line(database: Database) -> Iterator[Callable[[float], bool]]:
    """A function that waits, at most so many seconds, until somebody got or gave back memory: whether it heard so.

    Behind a pooler in transaction mode nothing is heard: who waits has to look by himself from time to time.

    Raises:
        TransientError: `database_unreachable`, from the function too.
    """
    with database.translated(), database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql(f"LISTEN {_CHANNEL}")
        driver = connection.connection.driver_connection
        assert driver is not None

        def wait(timeout_s: float) -> bool:
            try:
                return any(True for _ in driver.notifies(timeout=timeout_s, stop_after=1))
            except psycopg.OperationalError as error:
                raise TransientError("database_unreachable", f"{database}: {error}") from error

        try:
            yield wait
        finally:
            connection.invalidate()  # the pool shall not hand out one that listens


def _notify(connection: Connection) -> None:
    connection.execute(select(func.pg_notify(_CHANNEL, "")))
