"""Who may do what with which case. Every operation of this package asks here first.

A case that a person may not see is refused as if it did not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from nightreel.database.case_rows import facts_of, find_case, lock_cases
from nightreel.database.queues import QueuesInForce, queues_in_force
from nightreel.domain.cases import OF_LEADS, STAGES, CaseFacts, CaseState
from nightreel.domain.queues import Queue
from nightreel.domain.users import User
from nightreel.errors import SettingsError
from nightreel.review.refusals import ConflictError, NotAllowedError, NotFoundError
from nightreel.suggestions import refusal

_SEES = text("SELECT count(*) FROM nightreel.case_videos WHERE case_id = :case_id AND restricted")


@dataclass(frozen=True, slots=True)
class CaseInQueue:
    """A case that a person may see."""

    row: Row[Any]
    queue: Queue
    queues: QueuesInForce

    @property
    def id(self) -> int:
        return int(self.row.id)


def find_queues(connection: Connection) -> QueuesInForce:
    found = queues_in_force(connection)
    if found is None:
        raise SettingsError("no queues are in force: run `nightreel db upgrade`")
    return found


def find_queue(connection: Connection, user: User, name: str) -> tuple[Queue, QueuesInForce]:
    """A queue that the person works.

    Raises:
        NotFoundError: there is none with this name, or not for this person.
    """
    found = find_queues(connection)
    mine = [queue.name for queue in found.queues.queues if queue.is_worked_by(user)]
    if name not in mine:
        raise NotFoundError(refusal(f"{name!r} is no queue that {user.name} works", name, mine))
    return found.queues[name], found


def lock_case(connection: Connection, user: User, case_id: int) -> CaseInQueue:
    """A case that the person may see and work on, locked until the transaction ends.

    Raises:
        NotFoundError: there is none with this number, or not for this person.
    """
    return _visible(connection, user, case_id, lock_cases(connection, [case_id]).get(case_id))


def look_at_case(connection: Connection, user: User, case_id: int) -> CaseInQueue:
    """As `lock_case`, without the lock: to show the case and change nothing."""
    return _visible(connection, user, case_id, find_case(connection, case_id))


def _visible(connection: Connection, user: User, case_id: int, row: Row[Any] | None) -> CaseInQueue:
    queues = find_queues(connection)
    if (
        row is None
        or row.golden_for not in (None, user.id)
        or not sees(connection, user, queues.queue(row.queue_id), case_id)
    ):
        raise NotFoundError(f"there is no case {case_id}, or none that {user.name} may see")
    return CaseInQueue(row, queues.queue(row.queue_id), queues)


def sees(connection: Connection, user: User, queue: Queue, case_id: int) -> bool:
    """Whether a person works a queue and may see the videos of a case."""
    if not queue.is_worked_by(user):
        return False
    return user.restricted or not connection.execute(_SEES, {"case_id": case_id}).scalar_one()


def require_held(case: CaseInQueue, user: User) -> None:
    """Raises ConflictError unless the person has the case now."""
    if case.row.is_taken and case.row.taken_by == user.id:
        return
    state = "somebody else has it" if case.row.is_taken else "the time ran out, or it was never taken"
    raise ConflictError(f"case {case.id} is not yours: {state}. Take it again")


def require_may_decide(connection: Connection, case: CaseInQueue, user: User) -> CaseFacts:
    """The facts of a case that waits for a decision which this person may make. The person may see it.

    Raises:
        ConflictError: it waits for nothing. NotAllowedError: it waits for a lead, or for somebody else.
    """
    facts = facts_of(connection, [case.row])[case.id]
    if facts.state not in STAGES:
        raise ConflictError(f"case {case.id} is {facts.state}: there is nothing to decide")
    if facts.state in OF_LEADS:
        require_lead(user, f"a case that is {facts.state}")
    if facts.state is not CaseState.OPEN and any(one.user_id == user.id for one in facts.decisions):
        raise NotAllowedError(f"{user.name} has decided in case {case.id}: now another person must")
    return facts


def require_lead(user: User, what: str) -> None:
    if not user.leads:
        raise NotAllowedError(f"{user.name} is a {user.role}: {what} needs a lead")
