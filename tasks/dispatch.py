"""Shards of backfills to Prefect, as runs of the pool's deployment; and what became of those that it has.

The flow `backfill_videos` does it on a schedule, each shard's run at its end, `nightreel backfill` at once. Whoever
does it, how often, and wherever it was killed before: a shard is with Prefect once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled

from nightreel.backfill import counted
from nightreel.database import backfills
from nightreel.database.backfills import EarlyEnd, Shard, SubmittedShard
from nightreel.database.connection import Database
from nightreel.database.runs import recover_dead_runs
from nightreel.errors import PermanentError
from tasks.prefect_errors import prefect_errors

FLOW = "analyze-videos"
SHARDS = "shards-"
"""Begins the name of the deployment that shards of backfills run as; the rest is the pool's name."""
_NEVER_BEGAN = timedelta(minutes=10)
"""A run that a worker took and did not begin for so long is given up: its worker died."""


@dataclass(frozen=True, kw_only=True)
class Dispatched:
    """What one dispatch did. `busy`: nothing, as another was at it."""

    submitted: int = 0
    put_back: int = 0
    finished: tuple[int, ...] = ()
    busy: bool = False

    def __str__(self) -> str:
        if self.busy:
            return "another dispatch is at work"
        ended = f", backfills at their end: {', '.join(map(str, self.finished))}" if self.finished else ""
        return f"{counted(self.submitted, 'shard')} submitted, {self.put_back} taken back{ended}"


def deployment_of(pool: str) -> str:
    """The deployment whose runs work off shards on a pool."""
    return f"{FLOW}/{SHARDS}{pool}"


def require_deployment(client: SyncPrefectClient, pool: str) -> None:
    """Raises PermanentError `no_deployment` where Prefect knows of none for the shards of this pool."""
    try:
        with prefect_errors():
            client.read_deployment_by_name(deployment_of(pool))
    except ObjectNotFound:
        raise _no_deployment(pool) from None


def dispatch(database: Database, client: SyncPrefectClient, *, max_attempts: int, linked: bool) -> Dispatched:
    """Take back the shards whose runs ended before them, and submit the next ones.

    Args:
        linked: show the runs as children of the flow run that this is called in.

    Raises:
        PermanentError: `no_deployment`. TransientError: `prefect_unreachable`, or the database is away.
    """
    recover_dead_runs(database, max_attempts=max_attempts)
    with database.begin() as connection:
        if not backfills.take_dispatch_turn(connection):
            return Dispatched(busy=True)
        put_back = 0
        submitted = backfills.submitted_shards(connection)
        flow_runs = _read(client, [item.flow_run_id for item in submitted])
        for item in submitted:
            if end := _early_end(item, flow_runs.get(item.flow_run_id)):
                backfills.put_back(connection, item.shard.id, end)
                put_back += 1
        finished = tuple(backfills.close_finished(connection))
        waiting = backfills.shards_to_submit(connection)
        for shard in waiting:
            backfills.record_submission(connection, shard, _submit(shard, linked=linked))
    return Dispatched(submitted=len(waiting), put_back=put_back, finished=finished)


def cancel_waiting(client: SyncPrefectClient, flow_run_ids: list[str], *, why: str) -> int:
    """Cancel those of these flow runs that have not begun; those at work end by themselves, after their chunk."""
    waiting = [run for run in _read(client, flow_run_ids).values() if _is(run, StateType.SCHEDULED)]
    for flow_run in waiting:
        with prefect_errors():
            client.set_flow_run_state(flow_run.id, Cancelled(message=why))
    return len(waiting)


def _submit(shard: Shard, *, linked: bool) -> str:
    try:
        with prefect_errors():
            flow_run: Any = run_deployment(  # a coroutine where it is called from one, says its type
                deployment_of(shard.pool),
                parameters={"options": {"shard": shard.id}},
                flow_run_name=f"backfill-{shard.backfill_id}-shard-{shard.number}",
                tags=["nightreel", f"backfill-{shard.backfill_id}"],
                timeout=0,
                # Whoever was killed between this call and the commit: the next one is given the same run.
                idempotency_key=f"nightreel-shard-{shard.submission}",
                as_subflow=linked,
            )
    except ObjectNotFound:
        raise _no_deployment(shard.pool) from None
    return str(flow_run.id)


def _no_deployment(pool: str) -> PermanentError:
    return PermanentError(
        "no_deployment", f"Prefect has no deployment {deployment_of(pool)!r}: run `nightreel deploy --pool {pool}`"
    )


def _read(client: SyncPrefectClient, ids: list[str]) -> dict[str, FlowRun]:
    if not ids:
        return {}
    with prefect_errors():
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[UUID(item) for item in ids])), limit=200
        )
    return {str(flow_run.id): flow_run for flow_run in found}


def _early_end(item: SubmittedShard, flow_run: FlowRun | None) -> EarlyEnd | None:
    """How the run of a shard ended that is still taken to be with it; None: it did not."""
    if flow_run is None or flow_run.state is None:
        return EarlyEnd(detail="its flow run was deleted", charged=False)
    state = flow_run.state
    if state.is_final():
        detail = f"its run ended {state.name}: {state.message or 'without a word'}"[:2000]
        failed = state.type == StateType.FAILED
        return EarlyEnd(detail=detail, charged=failed or state.type == StateType.CRASHED, soon=not failed)
    if item.run_status == "crashed":
        return EarlyEnd(detail="its worker ended without a word")
    if _is(flow_run, StateType.PENDING) and datetime.now(UTC) - state.timestamp > _NEVER_BEGAN:
        return EarlyEnd(detail="its worker took it and never began", charged=False)
    return None


def _is(flow_run: FlowRun, kind: StateType) -> bool:
    return flow_run.state is not None and flow_run.state.type == kind
