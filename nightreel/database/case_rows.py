"""Cases as rows: what they depend on, and the events that change their state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, insert, select

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
    if not events:
        return
    rows = [
        {
            "case_id": event.case_id,
            "kind": event.kind,
            "state": event.state,
            "user_id": event.user_id,
            "batch_id": event.batch_id,
            "detail": dict(event.detail) or None,
        }
        for event in events
    ]
    connection.execute(insert(schema.case_events), rows)


def lock_cases(connection: Connection, case_ids: Collection[int]) -> dict[int, Row[Any]]:
    """The rows of cases by id, in the order of their ids, locked until the transaction ends."""
    cases = schema.cases
    query = select(cases, (cases.c.taken_until > func.clock_timestamp()).is_(True).label("is_taken")).where(
        cases.c.id == func.any(sorted(case_ids))
    )
    return {row.id: row for row in connection.execute(query.order_by(cases.c.id).with_for_update())}


def facts_of(connection: Connection, cases: Collection[Row[Any]]) -> dict[int, CaseFacts]:
    """What the states of these cases depend on, by case id. The cases are locked."""
    ids = [case.id for case in cases]
    findings, events = schema.findings.c, schema.case_events.c
    found: dict[int, set[tuple[int, str]]] = defaultdict(set)
    rows = connection.execute(
        select(findings.case_id, findings.prompt_id, findings.tag).where(findings.case_id == func.any(ids))
    )
    for row in rows:
        found[row.case_id].add((row.prompt_id, row.tag))
    decided: dict[str, list[Row[Any]]] = defaultdict(list)
    contents = sorted({case.content for case in cases})
    for row in connection.execute(statement("case_facts"), {"contents": contents}):
        decided[row.content].append(row)
    appeals = connection.execute(
        select(events.case_id, func.max(events.id))
        .where(events.case_id == func.any(ids), events.kind == APPEALED)
        .group_by(events.case_id)
    ).tuples()
    newest = dict(appeals.all())
    return {
        case.id: CaseFacts(
            frozenset(found[case.id]),
            # A label that was decided in another queue needs no other decision in this one.
            tuple(
                decision_of(row)
                for row in decided[case.content]
                if row.case_id == case.id or (row.prompt_id, row.tag) in found[case.id]
            ),
            newest.get(case.id),
        )
        for case in cases
    }


def decision_of(row: Row[Any]) -> Decision:
    return Decision(
        id=row.id,
        label=(row.prompt_id, row.tag),
        stage=Stage(row.stage),
        ruling=Ruling(row.ruling),
        user_id=row.user_id,
        needs_second=row.needs_second,
        appeal_id=row.appeal_id,
    )
