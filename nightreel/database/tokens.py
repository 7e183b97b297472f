"""Tokens of the REST service: add, find, list, revoke.

Commands add and revoke them as the worker. The service finds them as the console, which may change only `last_used_at`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, insert, or_, select, update

from nightreel.database import schema
from nightreel.database.users import add_user
from nightreel.domain.tokens import Scope, new_token, shown_part, token_sha256
from nightreel.domain.users import Role

_NOTED_EVERY = timedelta(minutes=1)  # else each request would write a row
_tokens = schema.tokens
_users = schema.users
_COLUMNS = [
    _users.c.name.label("user"),
    *(_tokens.c[name] for name in ("id", "user_id", "shown", "scopes", "expires_at", "revoked_at", "last_used_at")),
]
_OF_USERS = _tokens.join(_users, _users.c.id == _tokens.c.user_id)


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token without its secret. Times are in UTC; `scopes` are words of `Scope`."""

    id: int
    user_id: int
    user: str
    shown: str
    scopes: tuple[str, ...]
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


def add_token(connection: Connection, user: str, *, scopes: Collection[Scope], lifetime: timedelta) -> str:
    """Store a new token of a user and return it: it cannot be read again. A name that is new becomes a viewer."""
    token = new_token()
    add_user(connection, user, role=Role.VIEWER)
    values = {
        "user_id": select(_users.c.id).where(_users.c.name == user).scalar_subquery(),
        "sha256": token_sha256(token),
        "shown": shown_part(token),
        "scopes": sorted(scopes),
        "expires_at": func.now() + lifetime,
    }
    connection.execute(insert(_tokens).values(values))
    return token


def find_token(connection: Connection, token: str) -> StoredToken | None:
    """A token that counts: it exists, has not expired and is not revoked, and its user is not disabled.

    Its hash is looked up. So the time that this takes says nothing about any other token.
    """
    row = connection.execute(
        select(*_COLUMNS)
        .select_from(_OF_USERS)
        .where(
            _tokens.c.sha256 == token_sha256(token),
            _tokens.c.revoked_at.is_(None),
            _tokens.c.expires_at > func.now(),
            _users.c.disabled_at.is_(None),
        )
    ).one_or_none()
    return _token(row) if row else None


def note_use(connection: Connection, token_id: int) -> None:
    """Record that a token was used just now, to the minute."""
    last = _tokens.c.last_used_at
    connection.execute(
        update(_tokens)
        .where(_tokens.c.id == token_id, or_(last.is_(None), last < func.now() - _NOTED_EVERY))
        .values(last_used_at=func.now())
    )


def list_tokens(connection: Connection) -> list[StoredToken]:
    """All tokens, the newest first, those that no longer count too."""
    rows = connection.execute(select(*_COLUMNS).select_from(_OF_USERS).order_by(_tokens.c.id.desc()))
    return [_token(row) for row in rows]


def revoke_token(connection: Connection, token_id: int) -> StoredToken | None:
    """Revoke a token from now on; None if there is none with this number. A second call changes nothing."""
    row = connection.execute(
        update(_tokens)
        .where(_tokens.c.id == token_id, _users.c.id == _tokens.c.user_id)
        .values(revoked_at=func.coalesce(_tokens.c.revoked_at, func.now()))
        .returning(*_COLUMNS)
    ).one_or_none()
    return _token(row) if row else None


def _token(row: Row[Any]) -> StoredToken:
    return StoredToken(**dict(row._mapping) | {"scopes": tuple(row.scopes)})
