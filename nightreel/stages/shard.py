"""A run that works off a shard of a backfill: when it makes room for others, and what it says at its end.

`run.open_run` makes one. Whether a night waits for a worker is Prefect's to say and handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nightreel.database.backfills import Shard, end_shard, memory_is_wanted, read_shard
from nightreel.database.connection import Database

NightWaits = Callable[[str], bool]
"""Whether a run that goes first is due, and no worker of this pool has taken it."""


def nobody_waits(_: str) -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class ShardRun:
    """The run of a shard."""

    shard: Shard
    run_id: int
    database: Database
    night_waits: NightWaits

    def why_stop(self) -> str | None:
        """Why no more of the shard should be begun; None where it may go on."""
        shard = self.shard
        with self.database.begin() as connection:
            status = read_shard(connection, shard.id).backfill_status
            if status != "running":
                return f"backfill {shard.backfill_id} is {status}"
            if memory_is_wanted(connection, self.run_id):
                return "it made room for a run that waits for the device's memory"
        if self.night_waits(shard.pool):
            return "it made room for a night that is due"
        return None

    def end(self, *, stop: str | None) -> bool:
        """Say that the run ended in good order; returns whether the shard is done."""
        with self.database.begin() as connection:
            return end_shard(connection, self.shard, stop=stop)
