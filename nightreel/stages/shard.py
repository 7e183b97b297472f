"""The run of a backfill's shard: when it ends early to make room, and the record of its end.

`run.open_run` creates one. Only Prefect knows whether a night is due, so the caller passes `night_due`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nightreel.database.backfills import Shard, end_shard, memory_is_wanted, read_shard
from nightreel.database.connection import Database
from nightreel.domain.run_health import why_make_room

NightDue = Callable[[str], bool]
"""Whether a nightly run is due on a work pool and no worker has taken it."""


def no_night_due(_: str) -> bool:
    """Always False: for runs without Prefect."""
    return False


@dataclass(frozen=True, kw_only=True)
class ShardRun:
    """The run of a shard."""

    shard: Shard
    run_id: int
    database: Database
    night_due: NightDue

    def why_stop(self) -> str | None:
        """Why the run should not start more of the shard; None: it may continue."""
        shard = self.shard
        with self.database.begin() as connection:
            status = read_shard(connection, shard.id).backfill_status
            wanted = memory_is_wanted(connection, self.run_id)
        return why_make_room(
            backfill_id=shard.backfill_id,
            backfill_status=status,
            memory_is_wanted=wanted,
            night_is_due=self.night_due(shard.pool),
        )

    def end(self, *, stop: str | None) -> bool:
        """Record that the run ended in good order; returns whether the shard is done."""
        with self.database.begin() as connection:
            return end_shard(connection, self.shard, stop=stop)
