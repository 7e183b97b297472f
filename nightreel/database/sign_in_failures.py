"""Failed attempts to sign in: how many in a row for a name or from an address, and how long the next one waits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema

FREE = 5
"""Failures in a row after which the next attempt need not wait."""
LONGEST = timedelta(minutes=15)
_FORGOTTEN = timedelta(days=1)  # after the last failure
_failures = schema.sign_in_failures


def wait_s(connection: Connection, subjects: Sequence[bytes]) -> int:
    """Seconds until the next attempt of any of these subjects is taken; 0: now."""
    rows = connection.execute(
        select(_failures.c.failures, _failures.c.last_at, func.now().label("now")).where(
            _failures.c.subject.in_(subjects)
        )
    )
    return max((_left_s(failures, last_at, now) for failures, last_at, now in rows), default=0)


def note_failure(connection: Connection, subjects: Sequence[bytes]) -> None:
    """Count one more failure for each subject. Failures of days ago are forgotten."""
    connection.execute(delete(_failures).where(_failures.c.last_at < func.now() - _FORGOTTEN))
    for subject in sorted(subjects):  # the same order everywhere: no deadlock
        connection.execute(
            insert(_failures)
            .values(subject=subject, failures=1, last_at=func.now())
            .on_conflict_do_update(
                index_elements=[_failures.c.subject],
                set_={"failures": _failures.c.failures + 1, "last_at": func.now()},
            )
        )


def clear(connection: Connection, subject: bytes) -> None:
    """Forget the failures of a subject."""
    connection.execute(delete(_failures).where(_failures.c.subject == subject))


def take_back(connection: Connection, subject: bytes) -> None:
    """Take back the last failure of a subject."""
    one = _failures.c.subject == subject
    if not connection.execute(
        update(_failures).where(one, _failures.c.failures > 1).values(failures=_failures.c.failures - 1)
    ).rowcount:
        connection.execute(delete(_failures).where(one))


def _left_s(failures: int, last_at: datetime, now: datetime) -> int:
    """
    >>> from datetime import UTC
    >>> last = datetime(2026, 1, 1, tzinfo=UTC)
    >>> [_left_s(failures, last, last) for failures in (4, 5, 6, 8, 100)], _left_s(8, last, last + timedelta(seconds=3))
    ([0, 1, 2, 8, 900], 5)
    """
    if failures < FREE:
        return 0
    whole = min(LONGEST, timedelta(seconds=2 ** min(failures - FREE, 20)))
    return max(0, math.ceil((last_at + whole - now).total_seconds()))
