"""How much is decided, and how long it takes: of queues and days, never of persons."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection

from nightreel.database.statements import statement
from nightreel.domain.users import User
from nightreel.review.access import require_lead


@dataclass(frozen=True, slots=True, kw_only=True)
class DayOfQueue:
    """What was decided in a queue on a day.

    Args:
        cases: decided together. labels: of these. median_s: of a case; None: all were decided in bulk.
    """

    day: date
    queue: str
    cases: int
    labels: int
    confirmed: int
    undone: int
    median_s: float | None


def read_pace(connection: Connection, user: User, *, days: int, time_zone: str) -> list[DayOfQueue]:
    """The last days of all queues, the newest first.

    Raises:
        NotAllowedError: the person is no lead.
    """
    require_lead(user, "the pace of queues")
    rows = connection.execute(statement("review_pace"), {"days": days, "time_zone": time_zone})
    return [DayOfQueue(**row._mapping) for row in rows]
