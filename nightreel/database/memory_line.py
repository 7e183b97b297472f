"""The line of those who wait for, or hold, memory of a host's devices: rows that vanish when their run does.

`tasks.leases` keeps it, `nightreel gpu` shows it. The memory itself is counted by Prefect: here is who is next.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, delete, func, insert, select, text, update

from nightreel.admission import Place
from nightreel.database import schema
from nightreel.domain import MemoryRequest

_leases = schema.memory_leases


def join_line(connection: Connection, request: MemoryRequest, *, run_id: int | None, pid: int, stay_s: float) -> int:
    """Take a ticket, good for `stay_s` unless it is extended."""
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
    connection.execute(delete(_leases).where(_leases.c.id == ticket))


def record_grant(connection: Connection, ticket: int, limits: tuple[str, ...], *, stay_s: float) -> None:
    """Write down that a request was served."""
    connection.execute(
        update(_leases)
        .where(_leases.c.id == ticket)
        .values(granted=list(limits), granted_at=func.now(), expires_at=func.now() + timedelta(seconds=stay_s))
    )


def read_line(connection: Connection, host: str | None = None) -> list[Place]:
    """The living of a host (None: of all), in the order of their tickets. Tickets that ran out are removed."""
    here = _leases.c.host == host if host else text("true")
    connection.execute(delete(_leases).where(here, _leases.c.expires_at < func.now()))
    rows = connection.execute(select(_leases).where(here).order_by(_leases.c.id))
    return [
        Place(
            ticket=row.id,
            limits=tuple(row.limits),
            mib=row.mib,
            spread=row.spread,
            granted=tuple(row.granted),
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
