"""Who has which case: take, extend, release, skip, hold, assign. A lock expires by itself."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, func, select, text

from nightreel.database import schema
from nightreel.database.case_rows import NewEvent, change_case, lock_cases
from nightreel.database.queues import QueuesInForce
from nightreel.database.statements import statement
from nightreel.domain.cases import STAGES, CaseState
from nightreel.domain.queues import Queue
from nightreel.domain.users import User
from nightreel.errors import SettingsError
from nightreel.review.access import (
    CaseInQueue,
    find_queue,
    lock_case,
    require_held,
    require_lead,
    require_may_decide,
    sees,
)
from nightreel.review.golden import open_golden_case
from nightreel.review.refusals import ConflictError, NotAllowedError
from nightreel.units import counted

_cases = schema.cases
_NOW = func.clock_timestamp()
FREE: dict[str, Any] = {"taken_by": None, "taken_at": None, "taken_until": None}
"""The columns of a case that nobody has."""
FRESH: dict[str, Any] = FREE | {"hold_until": None, "assigned_to": None, "skipped_by": []}
"""The columns of a case as it was before anybody had it."""
_SKIP_LOCKED = "FOR UPDATE OF waiting SKIP LOCKED"
_UNLESS_HELD = "AND NOT EXISTS (SELECT FROM held)"
_FOR_REVIEWERS = "('open', 'second')"
_FOR_LEADS = "('escalated', 'appealed')"


def take_next(connection: Connection, user: User, queue_name: str) -> int | None:
    """Take the next case of a queue; None if there is none for this person.

    A person who has a case of the queue already gets that one again, with the time that is left: nobody hoards cases,
    and a client that died goes on where it was. Leads get escalations and appeals first. Golden items come in place of
    a case that waits, so that they are not noticed.

    Raises:
        NotFoundError: as `find_queue`.
    """
    queue, queues = find_queue(connection, user, queue_name)
    if random.random() < queue.golden_share:  # noqa: S311 - nothing to keep secret
        golden = _take_golden(connection, user, queue, queues)
        if golden is not None:
            return golden
    parameters = _of(user, queues.ids[queue.name]) | {"lock_s": queue.lock_minutes * 60}
    for states in _states(user):
        found = statement("next_case", states=states, more=_UNLESS_HELD, lock=_SKIP_LOCKED).text
        taken = connection.execute(statement("take_case", next_case=found), parameters).scalar()
        if taken is not None:
            return int(taken)
    return None


def _take_golden(connection: Connection, user: User, queue: Queue, queues: QueuesInForce) -> int | None:
    """Take a golden item in place of the case that a person would get next, if that one needs no lead."""
    queue_id = queues.ids[queue.name]
    held = select(_cases.c.id).where(
        _cases.c.taken_by == user.id, _cases.c.queue_id == queue_id, _cases.c.taken_until > _NOW
    )
    if connection.execute(held.limit(1)).scalar() is not None:
        return None
    found = _look_ahead(connection, user, queue_id)
    case_id = open_golden_case(connection, user, queue, queues) if found and found[1] == _FOR_REVIEWERS else None
    if case_id is not None:
        case = CaseInQueue(lock_cases(connection, [case_id])[case_id], queue, queues)
        _change(connection, case, user, "taken", **_taken_by(user, queue), hold_until=None)
    return case_id


def look_ahead(connection: Connection, user: User, queue_name: str) -> int | None:
    """The case that the person would get next, beside the one that the person has; None if there is none.

    It changes nothing and locks nothing: somebody else may get that case.
    """
    queue, queues = find_queue(connection, user, queue_name)
    found = _look_ahead(connection, user, queues.ids[queue.name])
    return None if found is None else found[0]


def _look_ahead(connection: Connection, user: User, queue_id: int) -> tuple[int, str] | None:
    """The next case for a person, and the states among which it was found."""
    for states in _states(user):
        found = connection.execute(
            statement("next_case", states=states, more="", lock=""), _of(user, queue_id)
        ).scalar()
        if found is not None:
            return int(found), states
    return None


def _states(user: User) -> tuple[str, ...]:
    """The states in which a person may decide, the most urgent first."""
    return (_FOR_LEADS, _FOR_REVIEWERS) if user.leads else (_FOR_REVIEWERS,)


def _of(user: User, queue_id: int) -> dict[str, Any]:
    return {"queue_id": queue_id, "user_id": user.id, "sees_restricted": user.restricted}


def _taken_by(user: User, queue: Queue) -> dict[str, Any]:
    until = _NOW + timedelta(minutes=queue.lock_minutes)
    return {"taken_by": user.id, "taken_at": _NOW, "taken_until": until}


def take_case(connection: Connection, user: User, case_id: int) -> None:
    """Take this case, though it is on hold, or the person skipped it.

    Raises:
        ConflictError: somebody else has it, it waits for nothing, or for somebody else.
    """
    case = lock_case(connection, user, case_id)
    require_may_decide(connection, case, user)
    _require_mine_or_free(case, user)
    if case.row.assigned_to not in (None, user.id) and not user.leads:
        raise ConflictError(f"case {case_id} is kept for somebody else")
    _change(connection, case, user, "taken", **_taken_by(user, case.queue), hold_until=None)


def extend(connection: Connection, user: User, case_id: int) -> None:
    """Have the case as long again as the queue allows, from now on."""
    case = lock_case(connection, user, case_id)
    require_held(case, user)
    _change(connection, case, user, "extended", taken_until=_NOW + timedelta(minutes=case.queue.lock_minutes))


def release(connection: Connection, user: User, case_id: int) -> None:
    """Give the case back: the next person gets it."""
    case = lock_case(connection, user, case_id)
    require_held(case, user)
    _change(connection, case, user, "released", **FREE)


def skip(connection: Connection, user: User, case_id: int) -> None:
    """Give the case back, and do not get it again from the queue until it is decided."""
    case = lock_case(connection, user, case_id)
    _require_waiting(case)
    _require_mine_or_free(case, user)
    _change(connection, case, user, "skipped", **FREE, skipped_by=sorted({*case.row.skipped_by, user.id}))


def hold(connection: Connection, user: User, case_id: int, *, until: datetime) -> None:
    """Give the case back; nobody gets it from the queue until then. A lead may do it with a case that nobody has.

    Args:
        until: UTC, if it has no time zone.
    """
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    case = lock_case(connection, user, case_id)
    _require_waiting(case)
    if user.leads:
        _require_mine_or_free(case, user)
    else:
        require_held(case, user)
    if until <= connection.execute(select(_NOW)).scalar_one():
        raise SettingsError(f"{until:%Y-%m-%d %H:%M} is over: expected a time that is ahead")
    _change(connection, case, user, "held", **FREE, hold_until=until, detail={"until": until.isoformat()})


def assign(connection: Connection, user: User, case_id: int, *, to: User | None) -> None:
    """Keep the case for a person; None: for nobody. Leads do it, and each person for their own cases.

    Raises:
        NotAllowedError: the other person may not work on it. ConflictError: somebody else has it now.
    """
    case = lock_case(connection, user, case_id)
    mine = case.row.is_taken and case.row.taken_by == user.id
    if not mine:
        require_lead(user, "assigning a case that is not yours")
    _require_waiting(case)
    if to is not None:
        if not sees(connection, to, case.queue, case_id):
            raise NotAllowedError(f"{to.name} may not work on case {case_id}")
        require_may_decide(connection, case, to)
    _require_mine_or_free(case, user if mine or to is None else to)
    changes = FREE if mine and (to is None or to.id != user.id) else {}
    detail = {"to": to.pseudonym if to else None}
    _change(connection, case, user, "assigned", **changes, assigned_to=to.id if to else None, detail=detail)


def _require_waiting(case: CaseInQueue) -> None:
    if case.row.state not in STAGES:
        raise ConflictError(f"case {case.id} is {case.row.state}: there is nothing to decide")


def _require_mine_or_free(case: CaseInQueue, user: User) -> None:
    if case.row.is_taken and case.row.taken_by != user.id:
        raise ConflictError(f"somebody else has case {case.id} until {case.row.taken_until:%H:%M:%S} UTC")


def _change(
    connection: Connection,
    case: CaseInQueue,
    user: User,
    kind: str,
    *,
    detail: Mapping[str, Any] = MappingProxyType({}),
    **columns: Any,
) -> None:
    """Change columns of a case and note what the person did."""
    event = NewEvent(case_id=case.id, kind=kind, state=CaseState(case.row.state), user_id=user.id, detail=detail)
    change_case(connection, event, columns)


def why_nothing(connection: Connection, user: User, queue_name: str) -> str:
    """Why `take_next` found nothing."""
    queue, queues = find_queue(connection, user, queue_name)
    row = connection.execute(
        text(
            "SELECT count(*) FILTER (WHERE :user_id = ANY (skipped_by)) AS skipped, "
            "count(*) FILTER (WHERE taken_until > clock_timestamp()) AS taken, "
            "count(*) FILTER (WHERE hold_until > clock_timestamp()) AS held "
            "FROM nightreel.cases WHERE queue_id = :queue_id AND state IN ('open', 'second', 'escalated', 'appealed')"
        ),
        {"queue_id": queues.ids[queue.name], "user_id": user.id},
    ).one()
    parts = {"skipped by you": row.skipped, "taken by others": row.taken, "on hold": row.held}
    said = ", ".join(f"{counted(number, 'case')} {what}" for what, number in parts.items() if number)
    return f"nothing to decide in the queue {queue.name} for {user.name}" + (f" ({said})" if said else "")
