"""Browsers that are signed in. Each session is a row, so that it can be ended at any time."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, select, update

from nightreel.database import schema
from nightreel.database.users import user_of
from nightreel.domain.preferences import Preferences
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


_COLUMNS = [name for name in Session.__slots__ if name != "user"]


@dataclass(frozen=True, slots=True)
class CurrentSession:
    """A session that counts, with what a page needs of its person.

    Args:
        must_change: another person made the password.
    """

    session: Session
    preferences: Preferences
    must_change: bool


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


def find_session(connection: Connection, secret: str) -> CurrentSession | None:
    """The session of a cookie, if it counts: not ended, not idle for too long, and its user is not disabled.

    Notes that it was used, to the minute. The hash is looked up, so the time says nothing about other sessions. It is
    one statement, because each page asks it first.
    """
    is_old = _sessions.c.last_used_at < func.now() - _NOTED_EVERY
    users, passwords, preferences = schema.users, schema.passwords, schema.preferences
    row = connection.execute(
        select(
            *(_sessions.c[name] for name in _COLUMNS),
            *(column.label(f"user_{column.name}") for column in users.c),
            is_old.label("is_old"),
            passwords.c.expires_at.is_not(None).label("must_change"),
            preferences.c.chosen,
        )
        .join(users, users.c.id == _sessions.c.user_id)
        .outerjoin(passwords, passwords.c.user_id == users.c.id)
        .outerjoin(preferences, preferences.c.user_id == users.c.id)
        .where(
            _sessions.c.sha256 == token_sha256(secret),
            _sessions.c.revoked_at.is_(None),
            _sessions.c.expires_at > func.now(),
            _sessions.c.last_used_at > func.now() - IDLE,
            users.c.disabled_at.is_(None),
        )
    ).one_or_none()
    if row is None:
        return None
    if row.is_old:
        noted = update(_sessions).where(_sessions.c.id == row.id, is_old)
        connection.execute(noted.values(last_used_at=func.now()))
    values = row._mapping
    user = user_of({column.name: values[f"user_{column.name}"] for column in users.c})
    session = Session(user=user, **{name: values[name] for name in _COLUMNS})
    return CurrentSession(session, Preferences.of(row.chosen or {}), row.must_change)


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
    return [Session(user=user, **{name: row._mapping[name] for name in _COLUMNS}) for row in rows]


def revoke_sessions(connection: Connection, user: User, *, only: int | None = None, but: int | None = None) -> int:
    """End sessions of a person: all, one, or all but one. Returns how many."""
    wanted = [_sessions.c.user_id == user.id, _sessions.c.revoked_at.is_(None)]
    if only is not None:
        wanted.append(_sessions.c.id == only)
    if but is not None:
        wanted.append(_sessions.c.id != but)
    return connection.execute(update(_sessions).where(*wanted).values(revoked_at=func.now())).rowcount
