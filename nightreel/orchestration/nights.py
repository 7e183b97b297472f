"""Finds out whether a due night waits for a worker: then a shard makes room for it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
    WorkQueueFilter,
    WorkQueueFilterName,
)
from prefect.client.schemas.objects import StateType

NIGHTS = "nightly"
"""The work queue of nights, which have the highest priority."""
_ASK_EVERY_S = 15.0
_TAKEN_WITHIN = timedelta(seconds=30)  # workers look for due runs every 10 to 15 seconds


class NightWatch:
    """See `nightreel.stages.shard.NightWaits`. Asks the server at most every 15 seconds, however often it is called."""

    def __init__(self, client: SyncPrefectClient, *, taken_within: timedelta = _TAKEN_WITHIN) -> None:
        self._client = client
        self._taken_within = taken_within
        self._ask_at = 0.0
        self._waits = False

    def __call__(self, pool: str) -> bool:
        if time.monotonic() >= self._ask_at:
            self._ask_at = time.monotonic() + _ASK_EVERY_S
            try:
                self._waits = self._ask(pool)
            except httpx.HTTPError:  # the shard continues: a failed check must not fail it
                self._waits = False
        return self._waits

    def _ask(self, pool: str) -> bool:
        due_before = datetime.now(UTC) - self._taken_within
        return bool(
            self._client.read_flow_runs(
                flow_run_filter=FlowRunFilter(
                    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
                    next_scheduled_start_time=FlowRunFilterNextScheduledStartTime(before_=due_before),
                ),
                work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
                work_queue_filter=WorkQueueFilter(name=WorkQueueFilterName(any_=[NIGHTS])),
                limit=1,
            )
        )
