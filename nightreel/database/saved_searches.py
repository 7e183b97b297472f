"""Searches that people keep under a name."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema
from nightreel.domain.users import User

MOST = 200
"""Searches that one person keeps."""
_searches = schema.saved_searches


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSearch:
    """A search under a name.

    Args:
        query: of its address. owner: pseudonym of who keeps it. is_own: it is of the person who asks.
    """

    id: int
    name: str
    query: str
    shared: bool
    owner: str
    is_own: bool


def list_searches(connection: Connection, user: User) -> list[SavedSearch]:
    """The searches that a person sees: own ones and shared ones, by name."""
    rows = connection.execute(
        select(
            _searches.c.id,
            _searches.c.name,
            _searches.c.query,
            _searches.c.shared,
            schema.users.c.pseudonym.label("owner"),
            (_searches.c.user_id == user.id).label("is_own"),
        )
        .join(schema.users, schema.users.c.id == _searches.c.user_id)
        .where(or_(_searches.c.user_id == user.id, _searches.c.shared))
        .order_by(_searches.c.name, _searches.c.id)
    )
    return [SavedSearch(**row._mapping) for row in rows]


def save_search(connection: Connection, user: User, name: str, query: str, *, shared: bool) -> bool:
    """Keep a search; one of the same name and person is replaced. Returns False if the person keeps `MOST` others."""
    others = select(func.count()).where(_searches.c.user_id == user.id, _searches.c.name != name)
    if connection.execute(others).scalar_one() >= MOST:
        return False
    values = {"query": query, "shared": shared}
    connection.execute(
        insert(_searches)
        .values(user_id=user.id, name=name, **values)
        .on_conflict_do_update(index_elements=[_searches.c.user_id, _searches.c.name], set_=values)
    )
    return True


def delete_search(connection: Connection, user: User, search_id: int) -> bool:
    """Delete a person's own search. Returns whether there was one."""
    wanted = (_searches.c.id == search_id, _searches.c.user_id == user.id)
    return connection.execute(delete(_searches).where(*wanted)).rowcount > 0
