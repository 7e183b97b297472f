"""What happened to a case: its events and decisions, the oldest first, with pseudonyms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from nightreel.database.case_rows import facts_of
from nightreel.database.statements import statement
from nightreel.domain.users import Role, User
from nightreel.review.access import look_at_case
from nightreel.review.showing import label_name


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """An event, or a decision about one label.

    Args:
        what: opened, changed, taken, decided and so on; of a decision its ruling, or `undo`.
        who: a pseudonym, for admins the name; None: Nightreel itself.
        label: of a decision. state: of the case since this event; None for a decision.
        detail: more, as JSON values.
    """

    at: datetime
    what: str
    who: str | None
    label: str | None
    state: str | None
    batch_id: str | None
    note: str | None
    detail: dict[str, Any]


def read_history(connection: Connection, user: User, case_id: int) -> list[HistoryEntry]:
    """The history of a case. A decision that waits for a second review is left out, for everybody.

    Raises:
        NotFoundError: there is no such case, or not for this person.
    """
    case = look_at_case(connection, user, case_id)
    hidden = facts_of(connection, [case.row])[case_id].hidden()
    rows = connection.execute(statement("case_history"), {"case_id": case_id})
    return [
        HistoryEntry(
            at=row.at,
            what=row.what,
            who=row.name if user.role is Role.ADMIN else row.pseudonym,
            label=None if row.prompt is None else label_name(row.prompt, row.tag),
            state=row.state,
            batch_id=str(row.batch_id) if row.batch_id else None,
            note=row.note,
            detail=row.detail or {},
        )
        for row in rows
        if row.decision_id not in hidden
    ]
