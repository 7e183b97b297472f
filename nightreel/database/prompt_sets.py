"""Shipped prompt sets that keep, in this database, the meaning that they had before an upgrade."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select

from nightreel.database import schema

RENAMED = ("moderation", "tagging")
"""Names of shipped sets that meant another set in an earlier version: a database may keep that meaning."""

_kept = schema.kept_prompt_sets


def kept_meanings(connection: Connection, names: Sequence[str]) -> list[str]:
    """These names of prompt sets, with shipped ones replaced by those that they mean in this database."""
    means = {row.name: row.means for row in connection.execute(select(_kept))}
    return [means.get(name, name) for name in names]


def forget_meaning(connection: Connection, name: str) -> bool:
    """Let a name mean the set that is shipped now. Returns whether it meant another one."""
    return bool(connection.execute(delete(_kept).where(_kept.c.name == name)).rowcount)
