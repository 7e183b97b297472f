"""Sort: after other queues came into force, bring all cases in line with them. No model is asked, nothing is judged.

It works in batches of videos, one transaction each, and continues where it was cut off.
"""

from __future__ import annotations

from collections.abc import Callable

from nightreel.database.cases import sort_into_cases
from nightreel.database.connection import Database
from nightreel.database.queues import bring_into_force, queues_in_force, record_sorted, videos_to_sort
from nightreel.domain.queues import Queues
from nightreel.review.queue_file import shipped_queues

_VIDEOS = 500
_UPGRADE = "upgrade"


def apply_queues(database: Database, queues: Queues, *, made_by: str) -> bool:
    """Bring queues into force, and sort all videos into them. Returns whether they are others than before."""
    with database.begin() as connection:
        changed = bring_into_force(connection, queues, made_by=made_by)
    sort_videos(database)
    return changed


def start_queues(database: Database) -> None:
    """Bring the shipped queues into force in a database that has none, and sort what is not sorted yet."""
    with database.begin() as connection:
        if queues_in_force(connection) is None:
            bring_into_force(connection, shipped_queues(), made_by=_UPGRADE)
    sort_videos(database)


def sort_videos(database: Database, *, on_progress: Callable[[int], None] = lambda _: None) -> int:
    """Sort the videos that are not sorted into the queues in force yet. Returns their number.

    Args:
        on_progress: called after each batch with the number of videos so far.
    """
    seen = 0
    while True:
        with database.begin() as connection:
            queues = queues_in_force(connection, lock="alone")
            if queues is None or queues.applied_at is not None:
                return seen
            videos = videos_to_sort(connection, after=queues.progress, limit=_VIDEOS)
            sort_into_cases(connection, videos)
            record_sorted(connection, queues.id, videos[-1] if len(videos) == _VIDEOS else None)
        seen += len(videos)
        on_progress(seen)
