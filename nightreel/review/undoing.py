"""Undo: another row takes back a decision, which then does not stand any more."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, insert, select

from nightreel.database import schema
from nightreel.database.case_rows import NewEvent, add_events, facts_of, lock_cases
from nightreel.domain.users import User
from nightreel.review.access import find_queues, require_lead, sees
from nightreel.review.refusals import ConflictError, NotFoundError

_decisions = schema.decisions


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """`kept`: decisions of the batch that stay, because a later one rests on them."""

    decisions: int
    cases: int
    kept: int


def undo(connection: Connection, user: User, batch_id: UUID) -> Undone:
    """Take back the decisions of a batch. Each person may for their own, leads for all.

    Raises:
        NotFoundError: there is no such batch, or not for this person.
        ConflictError: nothing of it can be undone.
    """
    queues = find_queues(connection)
    rows = connection.execute(
        select(_decisions).where(_decisions.c.batch_id == batch_id, _decisions.c.ruling.is_not(None))
    ).all()
    contents = sorted({row.content for row in rows})
    ids = select(schema.cases.c.id).where(schema.cases.c.content == func.any(contents))
    # Queues may have changed since: then a label is in another case of the same content now.
    cases = lock_cases(connection, connection.execute(ids).scalars().all())
    visible = {
        case_id
        for case_id in {row.case_id for row in rows}
        if sees(connection, user, queues.queue(cases[case_id].queue_id), case_id)
    }
    rows = [row for row in rows if row.case_id in visible]
    if not rows:
        raise NotFoundError(f"there are no decisions with the batch {batch_id}, or none that {user.name} may see")
    if any(row.user_id != user.id for row in rows):
        require_lead(user, "undoing what somebody else decided")
    facts = facts_of(connection, cases.values())
    by_case: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        by_case[row.case_id].append(row)
    undone: set[int] = set()
    kept = 0
    for case_id, own in by_case.items():
        standing = {decision.id: decision for decision in facts[case_id].decisions}
        for row in own:
            if row.id in standing and not facts[case_id].rests_on(standing[row.id]):
                undone.add(row.id)
            elif row.id in standing:
                kept += 1
    if not undone:
        raise ConflictError(
            "a later decision rests on all of these: undo that one first" if kept else "all of this is undone already"
        )
    _add_rows(connection, user, [row for row in rows if row.id in undone])
    touched = [case for case in cases.values() if any(decision.id in undone for decision in facts[case.id].decisions)]
    events = [
        NewEvent(
            case_id=case.id,
            kind="undone",
            state=facts[case.id].without(undone).state,
            user_id=user.id,
            batch_id=batch_id,
        )
        for case in touched
    ]
    add_events(connection, events)
    return Undone(decisions=len(undone), cases=len(touched), kept=kept)


def last_batch(connection: Connection, user: User) -> UUID:
    """The batch of the newest decision of a person that is not undone.

    Raises:
        NotFoundError: there is none.
    """
    undone = _decisions.alias()
    query = select(_decisions.c.batch_id).where(
        _decisions.c.user_id == user.id,
        _decisions.c.ruling.is_not(None),
        ~select(undone.c.id).where(undone.c.undoes == _decisions.c.id).exists(),
    )
    found = connection.execute(query.order_by(_decisions.c.id.desc()).limit(1)).scalar()
    if found is None:
        raise NotFoundError(f"{user.name} has no decision to undo")
    return UUID(str(found))


def case_of_batch(connection: Connection, batch_id: UUID) -> int | None:
    """The case of a batch, if all its decisions are about one."""
    query = select(_decisions.c.case_id).where(_decisions.c.batch_id == batch_id).distinct().limit(2)
    found = connection.execute(query).scalars().all()
    return int(found[0]) if len(found) == 1 else None


def _add_rows(connection: Connection, user: User, rows: list[Row[Any]]) -> None:
    same = ("batch_id", "case_id", "content", "prompt_id", "tag", "stage", "appeal_id", "queue_policy_id", "shown")
    values = [{name: getattr(row, name) for name in same} | {"undoes": row.id, "user_id": user.id} for row in rows]
    connection.execute(insert(_decisions), values)
