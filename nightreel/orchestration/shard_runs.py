"""Flow runs that process shards: find their deployment, submit, read and cancel them. All such calls are here.

`dispatch` decides which shards to submit. `nightreel deploy` makes the deployments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled

from nightreel.database.backfills import Shard
from nightreel.errors import PermanentError
from nightreel.orchestration.prefect_errors import prefect_errors
from nightreel.reasons import Reason

FLOW = "analyze-videos"
SHARDS = "shards-"
"""Prefix of the name of the deployment that shards of backfills run as. The pool's name follows."""
_PAGE = 200  # most flow runs that the server returns in one response


def deployment_of(pool: str) -> str:
    """The deployment whose runs process shards on a pool."""
    return f"{FLOW}/{SHARDS}{pool}"


def require_deployment(client: SyncPrefectClient, pool: str) -> None:
    """Raises PermanentError `no_deployment` if Prefect has none for the shards of this pool."""
    try:
        with prefect_errors():
            client.read_deployment_by_name(deployment_of(pool))
    except ObjectNotFound:
        raise _no_deployment(pool) from None


def submit(shard: Shard, *, linked: bool) -> str:
    """Submit a run for a shard; returns its id. Raises PermanentError `no_deployment`."""
    try:
        with prefect_errors():
            flow_run: Any = run_deployment(  # its type allows a coroutine, which it returns only in async code
                deployment_of(shard.pool),
                parameters={"options": {"shard": shard.id}},
                flow_run_name=f"backfill-{shard.backfill_id}-shard-{shard.number}",
                tags=["nightreel", f"backfill-{shard.backfill_id}"],
                timeout=0,
                # If this process is killed between this call and the commit, the next call gets the same run.
                idempotency_key=f"nightreel-shard-{shard.submission}",
                as_subflow=linked,
            )
    except ObjectNotFound:
        raise _no_deployment(shard.pool) from None
    return str(flow_run.id)


def read_runs(client: SyncPrefectClient, ids: Sequence[str]) -> dict[str, FlowRun]:
    """Flow runs by id, without deleted ones."""
    found: list[FlowRun] = []
    for first in range(0, len(ids), _PAGE):
        some = FlowRunFilterId(any_=[UUID(item) for item in ids[first : first + _PAGE]])
        with prefect_errors():
            found += client.read_flow_runs(flow_run_filter=FlowRunFilter(id=some), limit=_PAGE)
    return {str(flow_run.id): flow_run for flow_run in found}


def cancel_waiting(client: SyncPrefectClient, flow_run_ids: Sequence[str], *, why: str) -> int:
    """Cancel the flow runs that have not started. Running ones end by themselves, after their chunk."""
    waiting = [run for run in read_runs(client, flow_run_ids).values() if is_in(run, StateType.SCHEDULED)]
    for flow_run in waiting:
        with prefect_errors():
            client.set_flow_run_state(flow_run.id, Cancelled(message=why))
    return len(waiting)


def is_in(flow_run: FlowRun, kind: StateType) -> bool:
    return flow_run.state is not None and flow_run.state.type == kind


def _no_deployment(pool: str) -> PermanentError:
    return PermanentError(
        Reason.NO_DEPLOYMENT, f"Prefect has no deployment {deployment_of(pool)!r}: run `nightreel deploy --pool {pool}`"
    )
