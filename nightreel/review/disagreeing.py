"""What several people said of a case, side by side: for the lead who decides between them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from nightreel.database.statements import statement
from nightreel.domain.cases import CaseState
from nightreel.domain.findings import Label
from nightreel.domain.users import User
from nightreel.review.access import find_queues, require_lead
from nightreel.review.showing import label_name

_MOST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a person said of a label. `who`: a pseudonym."""

    label: Label
    name: str
    who: str
    stage: str
    ruling: str
    note: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A case that waits for a lead. `said`: of each label, by its name, in the order of the decisions."""

    case_id: int
    queue: str
    state: CaseState
    severity: int | None
    uri: str | None
    said: Mapping[str, Sequence[Said]]


def said_of_cases(connection: Connection, user: User, case_ids: Sequence[int]) -> dict[int, list[Said]]:
    """What people said of cases, by case id. It leaves out what a second person must not see.

    Raises:
        NotAllowedError: the person is no lead.
    """
    require_lead(user, "what others said of a case")
    found: dict[int, list[Said]] = defaultdict(list)
    for row in connection.execute(statement("said_of_cases"), {"case_ids": list(case_ids)}):
        said = Said(
            label=(row.prompt_id, row.tag),
            name=label_name(row.prompt, row.tag),
            who=row.reviewer,
            stage=row.stage,
            ruling=row.ruling,
            note=row.note,
            at=row.decided_at,
        )
        found[row.case_id].append(said)
    return found


def list_disagreements(connection: Connection, user: User) -> list[Disagreement]:
    """The cases that wait for a lead, in queues that this one works, the worst first, at most 100.

    Raises:
        NotAllowedError: the person is no lead.
    """
    queues = [queue.name for queue in find_queues(connection).queues.queues if queue.is_worked_by(user)]
    parameters = {"queues": queues, "sees_restricted": user.restricted, "most": _MOST}
    rows = connection.execute(statement("waits_for_lead"), parameters).all()
    said = said_of_cases(connection, user, [row.case_id for row in rows])
    return [
        Disagreement(
            case_id=row.case_id,
            queue=row.queue,
            state=CaseState(row.state),
            severity=row.severity,
            uri=row.uri,
            said=_by_label(said.get(row.case_id, [])),
        )
        for row in rows
    ]


def _by_label(said: Sequence[Said]) -> dict[str, list[Said]]:
    found: dict[str, list[Said]] = defaultdict(list)
    for one in said:
        found[one.name].append(one)
    return dict(found)
