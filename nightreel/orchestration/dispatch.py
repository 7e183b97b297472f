"""Which shards of backfills are with Prefect: the next ones are submitted, those whose runs ended early taken back.

The flow `backfill_videos` does it on a schedule, each shard's run at its end, `nightreel backfill` at once. Whoever
does it, how often, and wherever it was killed before: a shard is with Prefect once.
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
from nightreel.orchestration.shard_runs import is_in, read_runs, submit
from nightreel.reasons import Reason
from nightreel.settings import Settings, load_settings
from nightreel.stages.backfill_report import counted
from nightreel.stages.database import open_database

_NEVER_BEGAN = timedelta(minutes=10)
"""A run that a worker took and did not begin for so long is given up: its worker died."""


@dataclass(frozen=True, kw_only=True)
class Dispatched:
    """What one dispatch did.

    Args:
        finished: backfills at their end. busy: nothing was done, as another was at it.
        problems: why shards of a pool could not be submitted, a sentence for each pool.
    """

    submitted: int = 0
    requeued: int = 0
    finished: tuple[int, ...] = ()
    busy: bool = False
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.busy:
            return "another dispatch is at work"
        ended = f", backfills at their end: {', '.join(map(str, self.finished))}" if self.finished else ""
        done = f"{counted(self.submitted, 'shard')} submitted, {self.requeued} taken back{ended}"
        return "; ".join([done, *self.problems])


def dispatch_shards(*, linked: bool) -> Dispatched:
    """`dispatch` against the database and the Prefect server that the settings name."""
    settings = load_settings()
    with open_database(settings) as database, get_client(sync_client=True) as client:
        return dispatch(database, client, settings, linked=linked)


def dispatch(database: Database, client: SyncPrefectClient, settings: Settings, *, linked: bool) -> Dispatched:
    """Take back the shards whose runs ended before them, and submit the next ones.

    Args:
        linked: show the runs as children of the flow run that this is called in.

    Raises:
        NightreelError: as `prefect_errors`, or the database is away.
    """
    recover_dead_runs(database, max_attempts=settings.max_attempts)
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
                flow_run_id = submit(shard, linked=linked)
            except PermanentError as error:
                if error.reason is not Reason.NO_DEPLOYMENT:
                    raise
                problems[shard.pool] = error.detail  # other pools have theirs
                continue
            backfills.record_submission(connection, shard, flow_run_id)
            count += 1
    return Dispatched(submitted=count, requeued=requeued, finished=finished, problems=tuple(problems.values()))


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
    if is_in(flow_run, StateType.PENDING) and datetime.now(UTC) - state.timestamp > _NEVER_BEGAN:
        return EarlyEnd(detail="its worker took it and never began", charged=False)
    return None
