"""The hashes of passwords."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema
from nightreel.database.users import get_user
from nightreel.domain.users import User

TEMPORARY = timedelta(days=3)
"""How long a password counts that another person made."""
_passwords = schema.passwords


@dataclass(frozen=True, slots=True)
class StoredPassword:
    """The hash of a person's password.

    Args:
        temporary: another person made it: it must be changed. counts: it has not expired, and the person is not
            disabled.
    """

    user: User
    hash: str
    temporary: bool
    counts: bool


def find_password(connection: Connection, name: str) -> StoredPassword | None:
    """The password of a person; None if there is no such person, or none that has a password."""
    expires_at = _passwords.c.expires_at
    row = connection.execute(
        select(
            _passwords.c.user_id,
            _passwords.c.hash,
            expires_at.is_not(None).label("temporary"),
            or_(expires_at.is_(None), expires_at > func.now()).label("current"),
        )
        .join(schema.users, schema.users.c.id == _passwords.c.user_id)
        .where(schema.users.c.name == name)
    ).one_or_none()
    if row is None:
        return None
    user = get_user(connection, row.user_id)
    return StoredPassword(user, row.hash, row.temporary, row.current and user.disabled_at is None)


def is_temporary(connection: Connection, user: User) -> bool:
    """Whether another person made the password of this one."""
    query = select(_passwords.c.user_id).where(_passwords.c.user_id == user.id, _passwords.c.expires_at.is_not(None))
    return connection.execute(query).one_or_none() is not None


def set_password(connection: Connection, user: User, hash_: str, *, temporary: bool) -> None:
    """Store a new hash. A temporary password counts for three days."""
    values = {
        "hash": hash_,
        "changed_at": func.now(),
        "expires_at": func.now() + TEMPORARY if temporary else None,
    }
    connection.execute(
        insert(_passwords)
        .values(user_id=user.id, **values)
        .on_conflict_do_update(index_elements=[_passwords.c.user_id], set_=values)
    )
