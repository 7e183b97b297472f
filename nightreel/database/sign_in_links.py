"""Links that sign a person in once, without a password. Only the SHA-256 of their secret is stored."""

from __future__ import annotations

import secrets
from datetime import timedelta

from sqlalchemy import Connection, delete, func, insert

from nightreel.database import schema
from nightreel.database.users import get_user
from nightreel.domain.tokens import token_sha256
from nightreel.domain.users import User

LIFETIME = timedelta(hours=1)
_links = schema.sign_in_links


def add_link(connection: Connection, user: User) -> str:
    """Make a link for a person and return its secret. Earlier links of the person count no longer."""
    secret = secrets.token_urlsafe(32)
    connection.execute(delete(_links).where(_links.c.user_id == user.id))
    connection.execute(
        insert(_links).values(user_id=user.id, sha256=token_sha256(secret), expires_at=func.now() + LIFETIME)
    )
    return secret


def use_link(connection: Connection, secret: str) -> User | None:
    """The person whom a link signs in, if it counts. From now on it does not."""
    used = delete(_links).where(_links.c.sha256 == token_sha256(secret), _links.c.expires_at > func.now())
    user_id = connection.execute(used.returning(_links.c.user_id)).scalar_one_or_none()
    user = get_user(connection, user_id) if user_id is not None else None
    return user if user is not None and user.disabled_at is None else None
