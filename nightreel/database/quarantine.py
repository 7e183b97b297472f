"""The videos that wait in quarantine until a person looks at them. `stages.run` reads them at the end of each run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from nightreel.database import schema
from nightreel.database.claims import Selection
from nightreel.database.statements import statement

MOST = 10_000
"""The largest number of quarantined videos that is counted, so that the cost of the end of a run is bounded."""
_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """The quarantined videos of a selection.

    Args:
        videos: all of them, whatever the reason. new: those that killed runs, and are here since the run before.
        killers: keys of videos that killed runs, the new ones first, each with the number of runs; the first 100.
    """

    videos: int = 0
    new: int = 0
    killers: tuple[tuple[str, int], ...] = ()


def read_quarantine(
    connection: Connection, *, recipe_id: int, selection: Selection, since: datetime | None
) -> Quarantine:
    """Read the quarantine. `since`: the end of the run before; None: all are new."""
    rows = connection.execute(
        statement("quarantined"),
        {
            "recipe_id": recipe_id,
            "since": since,
            "uri_prefix": selection.uri_prefix,
            "after_uri": selection.after_uri,
            "up_to_uri": selection.up_to_uri,
            "most": MOST,
        },
    ).all()
    killers = [(row.uri, row.crashes) for row in rows if row.killed_runs]
    return Quarantine(videos=len(rows), new=sum(row.is_new for row in rows), killers=tuple(killers[:_SHOWN]))


def count_quarantined(connection: Connection) -> int:
    """The number of quarantined videos of all sources and recipes."""
    held = schema.analyses.c
    return connection.execute(select(func.count()).where(held.status == "quarantined")).scalar_one()
