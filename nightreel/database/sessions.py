"""Browsers that are signed in. Each session is a row, so that it can be ended at any time."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from nightreel.database import schema
from nightreel.database.users import get_user
from nightreel.domain.tokens import token_sha256
from nightreel.domain.users import User

LONGEST = timedelta(days=7)
IDLE = timedelta(hours=12)
_NOTED_EVERY = timedelta(minutes=1)  # else each request would write a row
_KEPT = timedelta(days=30)  # after its end, so that a person sees where the session was
_MOST_CHARACTERS = 300
_sessions = schema.sessions


@dataclass(frozen=True, slots=True)
class Session:
    """A session that counts, or that did. Times are in UTC."""

    id: int
    user: User
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    address: str
    agent: str


def add_session(connection: Connection, user: User, *, address: str, agent: str) -> str:
    """Start a session and return its secret: only the SHA-256 is stored. Sessions that ended long ago are removed."""
    secret = secrets.token_urlsafe(32)
    connection.execute(
        delete(_sessions).where(_sessions.c.user_id == user.id, _sessions.c.expires_at < func.now() - _KEPT)
    )
    connection.execute(
        insert(_sessions).values(
            user_id=user.id,
            sha256=token_sha256(secret),
            expires_at=func.now() + LONGEST,
            address=address[:_MOST_CHARACTERS],
            agent=agent[:_MOST_CHARACTERS],
        )
    )
    return secret


def find_session(connection: Connection, secret: str) -> Session | None:
    """The session of a cookie, if it counts: not ended, not idle for too long, and its user is not disabled.

    Notes that it was used, to the minute. The hash is looked up, so the time says nothing about other sessions.
    """
    row = connection.execute(
        select(_sessions).where(
            _sessions.c.sha256 == token_sha256(secret),
            _sessions.c.revoked_at.is_(None),
            _sessions.c.expires_at > func.now(),
            _sessions.c.last_used_at > func.now() - IDLE,
        )
    ).one_or_none()
    if row is None:
        return None
    found = _session(connection, row)
    if found.user.disabled_at is not None:
        return None
    connection.execute(
        update(_sessions)
        .where(_sessions.c.id == row.id, _sessions.c.last_used_at < func.now() - _NOTED_EVERY)
        .values(last_used_at=func.now())
    )
    return found


def list_sessions(connection: Connection, user: User) -> list[Session]:
    """The sessions of a person that count, the newest first."""
    rows = connection.execute(
        select(_sessions)
        .where(
            _sessions.c.user_id == user.id,
            _sessions.c.revoked_at.is_(None),
            _sessions.c.expires_at > func.now(),
            _sessions.c.last_used_at > func.now() - IDLE,
        )
        .order_by(_sessions.c.id.desc())
    )
    return [_session(connection, row) for row in rows]


def revoke_sessions(connection: Connection, user: User, *, only: int | None = None, but: int | None = None) -> int:
    """End sessions of a person: all, one, or all but one. Returns how many."""
    wanted = [_sessions.c.user_id == user.id, _sessions.c.revoked_at.is_(None)]
    if only is not None:
        wanted.append(_sessions.c.id == only)
    if but is not None:
        wanted.append(_sessions.c.id != but)
    return connection.execute(update(_sessions).where(*wanted).values(revoked_at=func.now())).rowcount


def _session(connection: Connection, row: Row[Any]) -> Session:
    values = dict(row._mapping)
    del values["sha256"]
    return Session(user=get_user(connection, values.pop("user_id")), **values)
