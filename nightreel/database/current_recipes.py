"""Which recipe is current: the one whose answers are on show, for the videos below a source and a prompt set.

Nights, backfills and `nightreel recipes use` make a recipe current. Other runs do so only where none is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema

_current = schema.current_recipes


@dataclass(frozen=True, slots=True)
class Switch:
    """A source and prompt set whose recipe has changed. The videos up to id `shown_up_to` show the new one."""

    source: str
    set_name: str
    shown_up_to: int


def make_current(
    connection: Connection,
    recipe_id: int,
    *,
    source: str,
    set_names: Collection[str],
    made_by: str,
    instead: bool,
) -> list[str]:
    """Make a recipe current for a source and prompt sets. Returns the sets for which it was not.

    Args:
        source: URL of the source.
        instead: also where another recipe is current.
    """
    rows = [
        {"source": source, "set_name": name, "recipe_id": recipe_id, "made_by": made_by, "shown_up_to": 0}
        for name in sorted(set_names)
    ]
    new = insert(_current).values(rows)
    if instead:
        changed = {name: new.excluded[name] for name in ("recipe_id", "made_by", "shown_up_to")}
        query = new.on_conflict_do_update(
            index_elements=["source", "set_name"],
            set_=changed | {"since": func.now()},
            where=_current.c.recipe_id != new.excluded.recipe_id,
        )
    else:
        query = new.on_conflict_do_nothing()
    return list(connection.execute(query.returning(_current.c.set_name)).scalars())


def pending_switches(connection: Connection) -> list[Switch]:
    """The sources and sets for which not all videos show the current recipe yet."""
    rows = connection.execute(
        select(_current.c.source, _current.c.set_name, _current.c.shown_up_to)
        .where(_current.c.shown_up_to.is_not(None))
        .order_by(_current.c.source, _current.c.set_name)
    )
    return [Switch(row.source, row.set_name, row.shown_up_to) for row in rows]


def lock_switch(connection: Connection, switch: Switch) -> int | None:
    """The id of the last video that shows the current recipe, locked until the transaction ends; None if all do."""
    return connection.execute(
        select(_current.c.shown_up_to)
        .where(_current.c.source == switch.source, _current.c.set_name == switch.set_name)
        .with_for_update()
    ).scalar()


def record_switch(connection: Connection, switch: Switch, shown_up_to: int | None) -> None:
    connection.execute(
        update(_current)
        .where(_current.c.source == switch.source, _current.c.set_name == switch.set_name)
        .values(shown_up_to=shown_up_to)
    )


def videos_below(connection: Connection, source: str, *, after: int, limit: int) -> list[int]:
    """The next videos below a source that have segments, by id."""
    videos, segments = schema.videos.c, schema.segments.c
    query = (
        select(videos.id)
        .where(
            videos.id > after,
            videos.uri.startswith(f"{source}/", autoescape=True),
            select(segments.id).where(segments.video_id == videos.id).exists(),
        )
        .order_by(videos.id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())
