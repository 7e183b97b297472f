"""Deletes Nightreel's old flow runs from Prefect, so that Prefect's database keeps its size.

The flow `tidy_prefect` calls it. It uses calls that every Prefect server has, of any database. With a flow run, a
server deletes its states, its task runs and, within seconds, its logs. It leaves artifacts. They are deleted here,
before their flow run: whenever this is killed, the next call finds the rest. No call deletes events: a setting of the
server does (`services.prefect_server`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterEndTime,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound

from nightreel.errors import NightreelError
from nightreel.orchestration.dead_flow_runs import FLOWS
from nightreel.orchestration.prefect_errors import prefect_errors
from nightreel.settings import Settings
from nightreel.units import counted

TAG = "nightreel"
"""Runs of each deployment of `deployments/prefect.yaml` have this tag."""
_BATCH = 20
_PAUSE_S = 0.2  # between batches: others use the server, and SQLite takes one writer at a time
_SAY_EVERY = 500
_ARTIFACTS = 200  # most that a server returns in one response
_FAILURES_IN_A_ROW = 5

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Tidied:
    """What was deleted. `failed`: flow runs that the server did not delete."""

    flow_runs: int = 0
    artifacts: int = 0
    failed: int = 0

    def __str__(self) -> str:
        done = f"{counted(self.flow_runs, 'flow run')} and {counted(self.artifacts, 'artifact')} deleted"
        return f"{done}, {counted(self.failed, 'flow run')} not: see the log" if self.failed else done


def tidy_prefect(settings: Settings, keep_days: int | None = None) -> Tidied | None:
    """Delete the runs of Nightreel that ended more than `keep_days` ago, or the days of the settings; None: no limit.

    Raises:
        NightreelError: like `tidy`.
    """
    days = settings.prefect_keep_days if keep_days is None else keep_days
    if not days:
        return None
    with get_client(sync_client=True) as client:
        return tidy(client, before=datetime.now(UTC) - timedelta(days=days))


def tidy(client: SyncPrefectClient, *, before: datetime) -> Tidied:
    """Delete the runs of Nightreel that ended before this time, the oldest first.

    Ours are the runs tagged `nightreel`, and the runs of our flows that have no deployment: those of commands, and the
    runs within a retry. A run that the server does not delete is logged, and does not end this.

    Raises:
        NightreelError: like `prefect_errors`: the server does not list runs, or deletes none of several in a row.
    """
    done = Tidied()
    for selection in _selections(before):
        _delete_selected(client, selection, done)
    return done


def _selections(before: datetime) -> Iterator[dict[str, Any]]:
    """Arguments of `read_flow_runs`."""
    ended = {
        "state": FlowRunFilterState(type=FlowRunFilterStateType(any_=sorted(TERMINAL_STATES))),
        "end_time": FlowRunFilterEndTime(before_=before),
    }
    yield {"flow_run_filter": FlowRunFilter(**ended, tags=FlowRunFilterTags(all_=[TAG]))}
    yield {
        "flow_run_filter": FlowRunFilter(**ended, deployment_id=FlowRunFilterDeploymentId(is_null_=True)),
        "flow_filter": FlowFilter(name=FlowFilterName(any_=list(FLOWS))),
    }


def _delete_selected(client: SyncPrefectClient, selection: dict[str, Any], done: Tidied) -> None:
    stayed = in_a_row = 0
    while True:
        with prefect_errors():
            batch = client.read_flow_runs(
                **selection, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=_BATCH, offset=stayed
            )
        if not batch:
            return
        for flow_run in batch:
            try:
                with prefect_errors():
                    deleted = _delete(client, flow_run, selection, done)
            except NightreelError as error:
                stayed, in_a_row, done.failed = stayed + 1, in_a_row + 1, done.failed + 1
                logger.warning("the old flow run %r stays in Prefect: %s", flow_run.name, error)
                if in_a_row == _FAILURES_IN_A_ROW:
                    raise
                continue
            in_a_row = 0
            stayed += not deleted
            if deleted and done.flow_runs % _SAY_EVERY == 0:
                logger.info("%s so far", done)
        time.sleep(_PAUSE_S)


def _delete(client: SyncPrefectClient, flow_run: FlowRun, selection: dict[str, Any], done: Tidied) -> bool:
    """Delete a flow run and its artifacts, unless it was started again, or deleted, since it was listed."""
    this = selection["flow_run_filter"].model_copy(update={"id": FlowRunFilterId(any_=[flow_run.id])})
    if not client.read_flow_runs(**{**selection, "flow_run_filter": this}, limit=1):
        return False
    done.artifacts += delete_artifacts(client, flow_run.id)
    delete_flow_run(client, flow_run.id)
    done.flow_runs += 1
    return True


def delete_artifacts(client: SyncPrefectClient, flow_run_id: UUID) -> int:
    """Delete the artifacts of a flow run, which would outlive it. Returns their number."""
    count = 0
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))  # those of its task runs too
    while artifacts := client.read_artifacts(artifact_filter=of_run, limit=_ARTIFACTS):
        for artifact in artifacts:
            with suppress(ObjectNotFound):
                client.delete_artifact(artifact.id)
        count += len(artifacts)
    return count


def delete_flow_run(client: SyncPrefectClient, flow_run_id: UUID) -> None:
    """Delete a flow run with its task runs and logs, if it is still there."""
    with suppress(ObjectNotFound):
        client.delete_flow_run(flow_run_id)
