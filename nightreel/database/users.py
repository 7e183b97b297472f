"""People: add, find, list, change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema
from nightreel.domain.users import Role, User, new_pseudonym

_users = schema.users


def add_user(
    connection: Connection, name: str, *, role: Role, restricted: bool = False, pseudonym: str | None = None
) -> User | None:
    """Add a person; None if there is one with this name or pseudonym."""
    values = {"name": name, "role": role, "restricted": restricted, "pseudonym": pseudonym or new_pseudonym()}
    row = connection.execute(insert(_users).values(values).on_conflict_do_nothing().returning(*_users.c)).one_or_none()
    return _user(row) if row else None


def find_user(connection: Connection, name: str) -> User | None:
    row = connection.execute(select(_users).where(_users.c.name == name)).one_or_none()
    return _user(row) if row else None


def get_user(connection: Connection, user_id: int) -> User:
    return _user(connection.execute(select(_users).where(_users.c.id == user_id)).one())


def list_users(connection: Connection) -> list[User]:
    """All people by name, the disabled ones too."""
    return [_user(row) for row in connection.execute(select(_users).order_by(_users.c.name))]


def change_user(
    connection: Connection,
    name: str,
    *,
    role: Role | None = None,
    restricted: bool | None = None,
    disabled: bool | None = None,
) -> User | None:
    """Change what is not None. Returns the person; None if there is none with this name."""
    values: dict[str, Any] = {}
    if role is not None:
        values["role"] = role
    if restricted is not None:
        values["restricted"] = restricted
    if disabled is not None:
        values["disabled_at"] = func.coalesce(_users.c.disabled_at, func.now()) if disabled else None
    row = connection.execute(
        update(_users).where(_users.c.name == name).values(values).returning(*_users.c)
    ).one_or_none()
    return _user(row) if row else None


def user_of(values: Mapping[str, Any]) -> User:
    """The person of a row of `users`."""
    return User(**dict(values) | {"role": Role(values["role"])})


def _user(row: Row[Any]) -> User:
    return user_of(row._asdict())
