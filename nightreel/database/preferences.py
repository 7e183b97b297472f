"""What people prefer in the console."""

from __future__ import annotations

from dataclasses import asdict, replace

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema
from nightreel.domain.preferences import Preferences
from nightreel.domain.users import User

_preferences = schema.preferences


def find_preferences(connection: Connection, user: User) -> Preferences:
    chosen = connection.execute(
        select(_preferences.c.chosen).where(_preferences.c.user_id == user.id)
    ).scalar_one_or_none()
    return Preferences.of(chosen or {})


def save_preferences(connection: Connection, user: User, preferences: Preferences) -> None:
    chosen = {name: value for name, value in asdict(preferences).items() if value is not None}
    connection.execute(
        insert(_preferences)
        .values(user_id=user.id, chosen=chosen)
        .on_conflict_do_update(index_elements=[_preferences.c.user_id], set_={"chosen": chosen})
    )


def keep_time_zone(connection: Connection, user: User, time_zone: str) -> None:
    """Note the time zone of a person's browser, if the person has chosen none."""
    preferences = find_preferences(connection, user)
    if preferences.time_zone is None:
        save_preferences(connection, user, replace(preferences, time_zone=time_zone))
