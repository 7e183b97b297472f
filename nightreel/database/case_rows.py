"""Cases as rows: what they depend on, and the events that change their state."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, func, insert, select, update

from nightreel.database import schema
from nightreel.database.statements import statement
from nightreel.domain.cases import CaseFacts, CaseState, Decision, Ruling, Stage

APPEALED = "appealed"
"""The kind of an event with which an appeal begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """Something that happened to a case. `user_id`: None if Nightreel did it. `state`: of the case from then on."""

    case_id: int
    kind: str
    state: CaseState
    user_id: int | None = None
    batch_id: UUID | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


def add_events(connection: Connection, events: Sequence[NewEvent]) -> None:
    """Add events. A trigger gives their cases the state that they name."""
    if events:
        connection.execute(insert(schema.case_events), [_values(event) for event in events])


def change_case(connection: Connection, event: NewEvent, columns: Mapping[str, Any]) -> None:
    """Change columns of a case and add the event that says so, in one statement."""
    changed = update(schema.cases).where(schema.cases.c.id == event.case_id).values(**columns).cte("changed")
    connection.execute(insert(schema.case_events).values(_values(event)).add_cte(changed))


def _values(event: NewEvent) -> dict[str, Any]:
    return {
        "case_id": event.case_id,
        "kind": event.kind,
        "state": event.state,
        "user_id": event.user_id,
        "batch_id": event.batch_id,
        "detail": dict(event.detail) or None,
    }


def lock_cases(connection: Connection, case_ids: Collection[int]) -> dict[int, Row[Any]]:
    """The rows of cases by id, in the order of their ids, locked until the transaction ends."""
    query = _rows(case_ids).order_by(schema.cases.c.id).with_for_update()
    return {row.id: row for row in connection.execute(query)}


def find_case(connection: Connection, case_id: int) -> Row[Any] | None:
    """The row of a case as `lock_cases` has it, which others may change; None: there is none."""
    return connection.execute(_rows([case_id])).one_or_none()


def _rows(case_ids: Collection[int]) -> Select[Any]:
    """Cases with `is_taken`: somebody has it now; `left_s`: seconds for which; `spent_s`: since it was taken."""
    cases, now = schema.cases.c, func.clock_timestamp()
    return select(
        schema.cases,
        (cases.taken_until > now).is_(True).label("is_taken"),
        func.extract("epoch", cases.taken_until - now).label("left_s"),
        func.extract("epoch", now - cases.taken_at).label("spent_s"),
    ).where(cases.id == func.any(sorted(case_ids)))


def facts_of(connection: Connection, cases: Collection[Row[Any]]) -> dict[int, CaseFacts]:
    """What the states of these cases depend on, by case id."""
    rows = connection.execute(statement("case_facts"), {"case_ids": sorted(case.id for case in cases)})
    return {row.case_id: _facts(row) for row in rows}


def _facts(row: Row[Any]) -> CaseFacts:
    found = frozenset((prompt_id, tag) for prompt_id, tag in row.found)
    # A label that was decided in another queue needs no other decision in this one.
    own = (one for one in row.decisions if one["case_id"] == row.case_id or (one["prompt_id"], one["tag"]) in found)
    return CaseFacts(found, tuple(map(_decision, own)), row.appeal_id)


def _decision(stored: Mapping[str, Any]) -> Decision:
    return Decision(
        id=stored["id"],
        label=(stored["prompt_id"], stored["tag"]),
        stage=Stage(stored["stage"]),
        ruling=Ruling(stored["ruling"]),
        user_id=stored["user_id"],
        needs_second=stored["needs_second"],
        appeal_id=stored["appeal_id"],
    )
