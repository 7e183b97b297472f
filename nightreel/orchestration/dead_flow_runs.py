"""Ends flow runs in Prefect whose process is gone: it was killed, or the server was away when it reported its end.

Each run calls it at its start and at its end, and each worker at its start. Postgres knows which runs have ended
(`database.runs`). The automation of `nightreel deploy` does the same earlier, but only for deployments.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled, Completed, Crashed, Failed
from sqlalchemy import func, select

from nightreel.database import schema
from nightreel.database.connection import Database
from nightreel.errors import NightreelError
from nightreel.orchestration.prefect_errors import prefect_errors
from nightreel.orchestration.server_watch import one_try

_REGISTERING = ("analyze-videos", "sweep-videos")  # flows that register a run within seconds; commands note theirs
_OTHERS = (
    "retry-failed",
    "backfill-videos",
    "evict-cache",
    "tidy-prefect",
    "deliver-webhooks",
    "carry-out-requests",
    "retention",
    "draw-audits",
)  # flows that only note their process
FLOWS = (*_REGISTERING, *_OTHERS)
"""The names of all flows of Nightreel."""
_PAGE = 200
_REPORTS_WITHIN_S = 60.0
"""A run whose row has ended reports its end to Prefect within this time, if it lives."""
_REGISTERS_WITHIN = timedelta(minutes=10)
_GONE: State[Any] = Crashed(message="its process is gone")
_STATES = {"completed": Completed, "failed": Failed, "cancelled": Cancelled, "crashed": Crashed}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """What Postgres knows of a run. `ended_s`: seconds since its end."""

    run_id: int
    status: str
    error: str | None
    ended_s: float | None


def end_dead_flow_runs(client: SyncPrefectClient, database: Database) -> int:
    """Set the state of each flow run whose process is gone. Returns their number.

    Raises:
        NightreelError: like `prefect_errors`, or the database does not respond.
    """
    ended = 0
    with one_try(), prefect_errors():
        registering = _unfinished(client, _REGISTERING)
        rows = _rows(database, [str(run.id) for run in registering])
        ends = [(run, _end_of(run, rows.get(str(run.id)))) for run in registering]
        ends += [(run, _GONE if _process_is_gone(run) else None) for run in _unfinished(client, _OTHERS)]
        for run, state in ends:
            if state is not None:
                client.set_flow_run_state(run.id, state, force=True)
                logger.info("flow run %r is set to %s: %s", run.name, state.name, state.message)
                ended += 1
    return ended


def end_dead_flow_runs_if_possible(client: SyncPrefectClient, database: Database) -> None:
    """Call `end_dead_flow_runs`. Its failure ends neither run nor worker: the next one tries it again."""
    try:
        end_dead_flow_runs(client, database)
    except NightreelError as error:
        logger.warning("flow runs whose process is gone keep their state for now: %s", error)


def note_process(flow: Any, flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect passes them
    """A hook of flows that register no run: note in Prefect which process it is."""
    with get_client(sync_client=True) as client:
        note_process_of(flow_run.id, client)


def note_process_of(flow_run_id: UUID, client: SyncPrefectClient) -> None:
    """Note in Prefect that this process runs the flow run. If that fails, its end is found later."""
    process: dict[str, Any] = {
        "nightreel.host": platform.node(),
        "nightreel.pid": os.getpid(),
        "nightreel.began": _began(os.getpid()),
    }
    with suppress(NightreelError), one_try(), prefect_errors():
        client.update_flow_run_labels(flow_run_id, process)


def _unfinished(client: SyncPrefectClient, flows: Sequence[str]) -> list[FlowRun]:
    begun = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.CANCELLING])
    return client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=list(flows))),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=begun)),
        limit=_PAGE,
    )


def _rows(database: Database, flow_run_ids: Sequence[str]) -> dict[str, _Row]:
    runs = schema.runs.c
    ended_s = func.extract("epoch", func.now() - runs.finished_at)
    query = select(runs.id, runs.flow_run_id, runs.status, runs.error, ended_s.label("ended_s"))
    with database.begin() as connection:
        found = connection.execute(query.where(runs.flow_run_id.in_(flow_run_ids)).order_by(runs.id)).all()
    return {
        row.flow_run_id: _Row(
            run_id=row.id,
            status=row.status,
            error=row.error,
            ended_s=None if row.ended_s is None else float(row.ended_s),
        )
        for row in found
    }


def _end_of(run: FlowRun, row: _Row | None) -> State[Any] | None:
    """The state of a flow run whose process is gone; None if it may live."""
    if row is None:
        since = run.state.timestamp if run.state else None
        late = since is not None and datetime.now(UTC) - since > _REGISTERS_WITHIN
        return _GONE if late or _process_is_gone(run) else None
    if row.status == "running" or row.ended_s is None:
        return None
    if row.status != "crashed" and row.ended_s < _REPORTS_WITHIN_S:
        return None
    why = row.error or "it ended in good order"
    return _STATES[row.status](message=f"run {row.run_id} did not report its end to Prefect: {why}")


def _process_is_gone(run: FlowRun) -> bool:
    """Whether the process that was noted was one of this host, and no longer exists."""
    noted = run.labels
    if noted.get("nightreel.host") != platform.node():
        return False
    return noted.get("nightreel.began") != _began(int(noted["nightreel.pid"]))


def _began(pid: int) -> float | None:
    """When a process started: a number of its own, if another process has the same id later. None if there is none."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None
