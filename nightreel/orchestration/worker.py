"""Prepares a work pool for a worker of this host, and builds the command lines of Prefect's workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkerFilter,
    WorkerFilterStatus,
    WorkPoolFilter,
    WorkPoolFilterName,
    WorkQueueFilter,
    WorkQueueFilterName,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_WORKER_QUERY_SECONDS

from nightreel.errors import SettingsError
from nightreel.orchestration.client import prefect_client
from nightreel.orchestration.deployments.definitions import needs_source
from nightreel.orchestration.deployments.pools import UPKEEP
from nightreel.orchestration.memory_limits import MemoryLimits
from nightreel.services import PrefectApi
from nightreel.services.configured import without_login
from nightreel.suggestions import refusal

_UPKEEP_AT_ONCE = 4  # each of its deployments has at most one run at a time
_POLL_S = 5.0  # Prefect's default, 10 s, is half of the time until a helper works


def prepare_pool(api: PrefectApi, pool: str, capacities: Mapping[str, int]) -> list[str]:
    """Set the limits of this host's devices, and return the names of the pool's queues.

    Args:
        capacities: MiB that runs may lease, by concurrency limit.

    Raises:
        SettingsError: the pool does not exist, or is not of type process.
    """
    with prefect_client(api) as client:
        try:
            found = client.read_work_pool(pool)
        except ObjectNotFound:
            problem = f"no work pool {pool!r} at {without_login(api.url)}"
            raise SettingsError(
                f"{refusal(problem, pool, [other.name for other in client.read_work_pools()])}. Make it with "
                "`nightreel deploy`, or name another with --pool or NIGHTREEL_WORK_POOL"
            ) from None
        if found.type != "process":
            raise SettingsError(
                f"work pool {pool!r} is of type {found.type}, but `nightreel worker` only serves type process: "
                "see deployments/README.md for other types"
            )
        MemoryLimits(client).ensure(capacities)
        return [queue.name for queue in client.read_work_queues(work_pool_name=pool)]


def without_source(api: PrefectApi, pool: str, queues: Sequence[str]) -> list[str]:
    """The deployments on these queues whose runs would use the source of the worker's settings."""
    on_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
    with prefect_client(api) as client:
        return sorted(
            one.name
            for one in client.read_deployments(work_pool_filter=on_pool)
            if one.work_queue_name in queues and needs_source(one.name, one.entrypoint, one.parameters)
        )


def has_worker(client: SyncPrefectClient, pool: str) -> bool:
    """Whether a worker that serves this pool is online."""
    online = WorkerFilter(status=WorkerFilterStatus(any_=["ONLINE"]))
    return bool(client.read_workers_for_work_pool(pool, worker_filter=online, limit=1))


def due_runs(api: PrefectApi, pool: str, queues: Sequence[str]) -> set[str]:
    """The ids of the runs on these queues that could start now."""
    scheduled = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        next_scheduled_start_time=FlowRunFilterNextScheduledStartTime(before_=datetime.now(UTC)),
    )
    with prefect_client(api) as client:
        found = client.read_flow_runs(
            flow_run_filter=scheduled,
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
            work_queue_filter=WorkQueueFilter(name=WorkQueueFilterName(any_=list(queues))),
        )
    return {str(run.id) for run in found}


def worker_commands(pool: str, queues: Sequence[str], *, name: str, limit: int, once: bool) -> list[list[str]]:
    """Command lines of Prefect's workers for these queues.

    One worker takes nights, retries and shards, which use a device for hours. A second one takes upkeep, which needs no
    device, takes seconds, and would otherwise wait for them.

    Args:
        name: of this host in Prefect. limit: most runs of the first worker at the same time.
        once: start what is due now, up to the limit, wait for its end, then end.
    """
    heavy = [queue for queue in queues if queue != UPKEEP]
    workers = [(heavy, name, limit)] if heavy else []
    workers += [([UPKEEP], f"{name}-upkeep", _UPKEEP_AT_ONCE)] if UPKEEP in queues else []
    return [
        [
            *("worker", "start", "--type", "process", "--pool", pool, "--name", own_name, "--limit", str(own_limit)),
            *(part for queue in own_queues for part in ("--work-queue", queue)),
            *(["--run-once"] if once else []),
        ]
        for own_queues, own_name, own_limit in workers
    ]


def poll_s() -> float:
    """Seconds between two looks for due runs: what Prefect's settings say, or 5 if they say nothing else."""
    configured = float(PREFECT_WORKER_QUERY_SECONDS.value())
    return _POLL_S if configured == PREFECT_WORKER_QUERY_SECONDS.default() else configured
