"""The run of a backfill's shard: when it ends early to make room, and the record of its end.

`run.open_run` creates one. Only Prefect knows whether a night is due, so the caller passes `night_due`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nightreel.database.backfills import Shard, end_shard, memory_is_wanted, read_shard
from nightreel.database.connection import Database

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
            if status != "running":
                return f"backfill {shard.backfill_id} is {status}"
            if memory_is_wanted(connection, self.run_id):
                return "it made room for a run that waits for the device's memory"
        if self.night_due(shard.pool):
            return "it made room for a night that is due"
        return None

    def end(self, *, stop: str | None) -> bool:
        """Record that the run ended in good order; returns whether the shard is done."""
        with self.database.begin() as connection:
            return end_shard(connection, self.shard, stop=stop)
