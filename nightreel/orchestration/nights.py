"""Finds out whether a due night waits for a worker, so that a shard makes room, and whether a night was stopped."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

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
from prefect.exceptions import ObjectNotFound

NIGHTS = "nightly"
"""The work queue of nights, which have the highest priority."""
_ASK_EVERY_S = 15.0
_ASK_CANCELLED_EVERY_S = 5.0
_STOPS_HELPERS = (StateType.CANCELLED, StateType.CANCELLING, StateType.PAUSED)
_TAKEN_WITHIN = timedelta(seconds=30)  # workers look for due runs every 5 to 10 seconds


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


class CancelWatch:
    """Finds out whether a person cancelled or paused a night. Asks the server at most every few seconds.

    A night's own run that is cancelled may be killed before it can say so in Postgres.
    """

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client
        self._ask_at = 0.0
        self._cancelled = False

    def __call__(self, flow_run_id: str) -> bool:
        if time.monotonic() >= self._ask_at and not self._cancelled:
            self._ask_at = time.monotonic() + _ASK_CANCELLED_EVERY_S
            try:
                state = self._client.read_flow_run(UUID(flow_run_id)).state
            except (httpx.HTTPError, ObjectNotFound):  # the helper continues: a failed check must not fail it
                return False
            self._cancelled = state is not None and state.type in _STOPS_HELPERS
        return self._cancelled
