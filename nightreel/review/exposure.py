"""When a person should take a break: after a number of severe cases without a pause. It is a suggestion, not a rule."""

from __future__ import annotations

from sqlalchemy import Connection

from nightreel.database.statements import statement
from nightreel.domain.users import User

SEVERE = 3
"""A case is severe from this severity on."""


def break_is_due(connection: Connection, user: User, *, after: int, pause_minutes: float) -> int | None:
    """The severe cases that a person decided without a pause, if it is time for one; None: it is not.

    It is time after each `after`-th of them, once: a person who goes on is asked again after as many more.

    Args:
        after: severe cases in a row; 0: it is never time.
        pause_minutes: time without a decision that counts as a pause.
    """
    if not after:
        return None
    parameters = {"user_id": user.id, "severity": SEVERE, "pause_s": pause_minutes * 60}
    row = connection.execute(statement("severe_in_a_row"), parameters).one()
    is_due = row.newest_is_severe and not row.rested and row.severe % after == 0
    return int(row.severe) if is_due else None
