"""Flow runs that do a part of a backfill or a night: find their deployment, submit, read and cancel them.

All such calls are here. `dispatch` decides which shards to submit, `helpers` how many helpers. `nightreel deploy` makes
the deployments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

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
HELPERS = "helpers-"
"""Prefixes of the names of the deployments that shards of backfills and helpers of nights run as. The pool follows."""
_PAGE = 200  # most flow runs that the server returns in one response


def deployment_of(pool: str, prefix: str = SHARDS) -> str:
    """The deployment whose runs process shards, or help nights, on a pool."""
    return f"{FLOW}/{prefix}{pool}"


def require_deployment(client: SyncPrefectClient, pool: str, prefix: str = SHARDS) -> None:
    """Raises PermanentError `no_deployment` if Prefect has none for the shards, or the helpers, of this pool."""
    try:
        with prefect_errors():
            client.read_deployment_by_name(deployment_of(pool, prefix))
    except ObjectNotFound:
        raise _no_deployment(pool, prefix) from None


def submit_shard(shard: Shard, *, linked: bool) -> str:
    """Submit a run for a shard; returns its id. Raises PermanentError `no_deployment`."""
    return _submit(
        shard.pool,
        SHARDS,
        options={"shard": shard.id},
        name=f"backfill-{shard.backfill_id}-shard-{shard.number}",
        tag=f"backfill-{shard.backfill_id}",
        key=f"nightreel-shard-{shard.submission}",
        linked=linked,
    )


def submit_helper(pool: str, *, night_id: int, night_name: str, number: int, linked: bool = True) -> str:
    """Submit a run that helps a night; returns its id. Raises PermanentError `no_deployment`.

    Args:
        night_id: of the night's run. number: of the helper within the night.
    """
    return _submit(
        pool,
        HELPERS,
        options={"night": night_id},
        name=f"helper {number} of {night_name}",
        tag="helper",
        key=f"nightreel-helper-{night_id}-{number}-{uuid4()}",
        linked=linked,
    )


def _submit(pool: str, prefix: str, *, options: Mapping[str, Any], name: str, tag: str, key: str, linked: bool) -> str:
    """Submit a run.

    Args:
        key: if this process is killed before it stores the run's id, the next call with this key gets the same run.
        linked: show it as a child of the current flow run.
    """
    try:
        with prefect_errors():
            flow_run: Any = run_deployment(  # its type allows a coroutine, which it returns only in async code
                deployment_of(pool, prefix),
                parameters={"options": dict(options)},
                flow_run_name=name,
                tags=["nightreel", tag],
                timeout=0,
                idempotency_key=key,
                as_subflow=linked,
            )
    except ObjectNotFound:
        raise _no_deployment(pool, prefix) from None
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


def _no_deployment(pool: str, prefix: str) -> PermanentError:
    name = deployment_of(pool, prefix)
    return PermanentError(
        Reason.NO_DEPLOYMENT, f"Prefect has no deployment {name!r}: run `nightreel deploy --pool {pool}`"
    )
