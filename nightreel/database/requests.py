"""Requests: what people asked for in the console or over REST.

The role of the console adds them; the worker's role ends them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, case, func, insert, select, update
from sqlalchemy.dialects.postgresql import array

from nightreel.database import schema
from nightreel.domain.requests import RequestKind, Wish, to_json
from nightreel.domain.users import User

_requests = schema.requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request. `who`: a pseudonym. `outcome`: what was done, or why it was not (`failed`); None: it waits."""

    id: int
    kind: str
    detail: dict[str, Any]
    user_id: int
    who: str
    asked_at: datetime
    ended_at: datetime | None
    outcome: str | None
    failed: bool


def add_request(connection: Connection, user: User, wish: Wish) -> int:
    """Add a request. The same one that waits already is not added again. Returns its number."""
    values = {"kind": wish.kind, "detail": to_json(wish)}
    waits = select(_requests.c.id).where(
        _requests.c.ended_at.is_(None), _requests.c.kind == wish.kind, _requests.c.detail == values["detail"]
    )
    known = connection.execute(waits.limit(1)).scalar()
    adding = insert(_requests).values(user_id=user.id, **values).returning(_requests.c.id)
    return int(known if known is not None else connection.execute(adding).scalar_one())


def find_request(connection: Connection, request_id: int) -> Request | None:
    """A request; None: there is none with this number."""
    row = connection.execute(_read().where(_requests.c.id == request_id)).one_or_none()
    return None if row is None else Request(**row._mapping)


def list_requests(connection: Connection, *, limit: int, kinds: tuple[str, ...] = ()) -> list[Request]:
    """The newest requests, the newest first."""
    query = _read().order_by(_requests.c.id.desc()).limit(limit)
    rows = connection.execute(query.where(_requests.c.kind.in_(kinds)) if kinds else query)
    return [Request(**row._mapping) for row in rows]


def lock_next_request(connection: Connection, *, but: Collection[RequestKind] = ()) -> Request | None:
    """The oldest request that waits, locked until the transaction ends; one that another process locked is left out.

    Args:
        but: requests of these kinds are left out.
    """
    waits = (
        _read().where(_requests.c.ended_at.is_(None), _requests.c.kind.not_in(but)).order_by(_requests.c.id).limit(1)
    )
    row = connection.execute(waits.with_for_update(of=_requests, skip_locked=True)).one_or_none()
    return None if row is None else Request(**row._mapping)


def end_request(connection: Connection, request_id: int, *, outcome: str, failed: bool) -> None:
    """End a request. It forgets which video an erasure or a hold was about, and why: else an erasure leaves it here."""
    detail = _requests.c.detail
    of_a_video = _requests.c.kind.in_([RequestKind.ERASE, RequestKind.HOLD])
    connection.execute(
        update(_requests)
        .where(_requests.c.id == request_id, _requests.c.ended_at.is_(None))
        .values(
            ended_at=func.now(),
            outcome=outcome[:2000],
            failed=failed,
            detail=case((of_a_video, detail.op("-")(array(["what", "reason"]))), else_=detail),
        )
    )


def _read() -> Any:
    users = schema.users
    return select(_requests, users.c.pseudonym.label("who")).join(users, users.c.id == _requests.c.user_id)
