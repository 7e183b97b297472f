"""Submits the next shards of backfills to Prefect, and requeues those whose runs ended early.

The flow `backfill_videos` dispatches on a schedule, each shard's run at its end, `nightreel backfill` immediately.
A shard never has two live flow runs, even if dispatches run often, at the same time, or are killed at any point.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType

from nightreel.database import backfills
from nightreel.database.backfills import EarlyEnd, SubmittedShard
from nightreel.database.connection import Database
from nightreel.database.runs import recover_dead_runs
from nightreel.errors import PermanentError
from nightreel.orchestration.part_runs import is_in, read_runs, submit_shard
from nightreel.reasons import Reason
from nightreel.settings import Settings, load_settings
from nightreel.stages.database import open_database
from nightreel.units import counted

_NEVER_BEGAN = timedelta(minutes=10)
"""A run that a worker took and did not start for this long is given up: its worker died."""


@dataclass(frozen=True, kw_only=True)
class Dispatched:
    """The result of one dispatch.

    Args:
        finished: ids of backfills that ended. busy: nothing was done, because another dispatch was running.
        problems: why shards of a pool could not be submitted, a sentence for each pool.
    """

    submitted: int = 0
    requeued: int = 0
    finished: tuple[int, ...] = ()
    busy: bool = False
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.busy:
            return "another dispatch is running"
        ended = f", backfills finished: {', '.join(map(str, self.finished))}" if self.finished else ""
        done = f"{counted(self.submitted, 'shard')} submitted, {self.requeued} requeued{ended}"
        return "; ".join([done, *self.problems])


def dispatch_shards(*, linked: bool) -> Dispatched:
    """Call `dispatch` with the database and the Prefect server of the settings."""
    settings = load_settings()
    with open_database(settings) as database, get_client(sync_client=True) as client:
        return dispatch(database, client, settings, linked=linked)


def dispatch(database: Database, client: SyncPrefectClient, settings: Settings, *, linked: bool) -> Dispatched:
    """Requeue the shards whose runs ended before they did, and submit the next ones.

    Args:
        linked: show the runs as children of the current flow run.

    Raises:
        NightreelError: like `prefect_errors`, or the database does not respond.
    """
    recover_dead_runs(database, max_crashes=settings.max_crashes)
    with database.begin() as connection:
        if not backfills.take_dispatch_turn(connection):
            return Dispatched(busy=True)
        requeued = 0
        submitted = backfills.submitted_shards(connection)
        flow_runs = read_runs(client, [item.flow_run_id for item in submitted])
        for item in submitted:
            if end := _early_end(item, flow_runs.get(item.flow_run_id)):
                backfills.requeue_shard(connection, item.shard.id, end)
                requeued += 1
        finished = tuple(backfills.close_finished(connection))
        count, problems = 0, dict[str, str]()
        for shard in backfills.shards_to_submit(connection, at_once=settings.shards_at_once):
            if shard.pool in problems:
                continue
            try:
                flow_run_id = submit_shard(shard, linked=linked)
            except PermanentError as error:
                if error.reason is not Reason.NO_DEPLOYMENT:
                    raise
                problems[shard.pool] = error.detail  # other pools may have their deployment
                continue
            backfills.record_submission(connection, shard, flow_run_id)
            count += 1
    return Dispatched(submitted=count, requeued=requeued, finished=finished, problems=tuple(problems.values()))


def _early_end(item: SubmittedShard, flow_run: FlowRun | None) -> EarlyEnd | None:
    """How the flow run of a submitted shard ended early; None: it did not."""
    if flow_run is None or flow_run.state is None:
        return EarlyEnd(detail="its flow run was deleted", charged=False)
    state = flow_run.state
    if state.is_final():
        detail = f"its run ended {state.name}: {state.message or 'no message'}"[:2000]
        failed = state.type == StateType.FAILED
        return EarlyEnd(detail=detail, charged=failed or state.type == StateType.CRASHED, soon=not failed)
    if item.run_status == "crashed":
        return EarlyEnd(detail="its worker died without an error message")
    if is_in(flow_run, StateType.PENDING) and datetime.now(UTC) - state.timestamp > _NEVER_BEGAN:
        return EarlyEnd(detail="its worker took it and never started it", charged=False)
    return None
