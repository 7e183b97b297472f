"""The events that webhooks get: a verdict on a video becomes flagged, ceases to be, or changes its severity.

`verdicts.roll_up_videos` calls it in the transaction that changes the verdicts, so that an event exists exactly if its
change does. A verdict that is written again without a change makes no event.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row

from nightreel.database.statements import statement
from nightreel.domain import Verdict, VerdictState


class EventType(StrEnum):
    """What happened to a flag. `UNSURE`: it was flagged, and the new verdict is unknown, an error or missing."""

    RAISED = "flag.raised"
    CHANGED = "flag.changed"
    CLEARED = "flag.cleared"
    UNSURE = "flag.unsure"


Key = tuple[int, int]
"""(video id, prompt id)."""


def record_flag_changes(
    connection: Connection, before: Iterable[Row[Any]], after: Iterable[Row[Any]], *, kept: Collection[Key]
) -> int:
    """Add the events of verdicts that were replaced to the outbox. Returns the number of deliveries.

    Args:
        before: deleted verdicts; after: inserted ones, with video_id, prompt_id, state, flagged and severity.
        kept: verdicts that another transaction has inserted meanwhile: that one records their changes.
    """
    old, new = _by_key(before), _by_key(after)
    changes = [
        (key, change, _severity(old.get(key)))
        for key in sorted(old.keys() | new.keys())
        if key not in kept and (change := flag_change(old.get(key), new.get(key)))
    ]
    if not changes:
        return 0
    parameters = {
        "video_ids": [video_id for (video_id, _), _, _ in changes],
        "prompt_ids": [prompt_id for (_, prompt_id), _, _ in changes],
        "types": [str(change) for _, change, _ in changes],
        "severities_before": [severity for _, _, severity in changes],
    }
    return connection.execute(statement("add_webhook_events"), parameters).rowcount


def _by_key(rows: Iterable[Row[Any]]) -> Mapping[Key, Row[Any]]:
    return {(row.video_id, row.prompt_id): row for row in rows}


def _severity(row: Row[Any] | Verdict | None) -> int | None:
    return row.severity if row is not None and row.flagged else None


def flag_change(old: Row[Any] | Verdict | None, new: Row[Any] | Verdict | None) -> EventType | None:
    """What becomes of a flag between two verdicts; None: nothing."""
    was_flagged, is_flagged = old is not None and old.flagged, new is not None and new.flagged
    if is_flagged and not was_flagged:
        return EventType.RAISED
    if is_flagged and _severity(old) != _severity(new):
        return EventType.CHANGED
    if was_flagged and not is_flagged:
        is_known = new is not None and new.state == VerdictState.ANSWERED
        return EventType.CLEARED if is_known else EventType.UNSURE
    return None
