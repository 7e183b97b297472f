"""The open runs of this process: flows open them, tasks find them, commands watch them.

Tasks receive the id of a run and find the run here, because models and connections cannot be task inputs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.runtime import flow_run

from nightreel.database.connection import Database
from nightreel.database.runs import any_died_during
from nightreel.domain import MemoryRequest
from nightreel.errors import NightreelError
from nightreel.logs import log_context, set_up_worker_logging
from nightreel.options import AnalyzeOptions, settings_for
from nightreel.orchestration.dead_flow_runs import end_dead_flow_runs_if_possible, note_process_of
from nightreel.orchestration.held_memory import HeldMemory
from nightreel.orchestration.helpers import Helpers, open_helpers
from nightreel.orchestration.leases import lease_memory
from nightreel.orchestration.lost_server import leave_without_server
from nightreel.orchestration.memory_limits import MemoryLimits
from nightreel.orchestration.nights import CancelWatch, NightWatch
from nightreel.orchestration.server_watch import ServerWatch
from nightreel.settings import Settings, load_settings
from nightreel.stages.database import open_database
from nightreel.stages.helper import needs_help
from nightreel.stages.run import Run
from nightreel.stages.run import open_run as open_stages
from nightreel.stages.summary import RunSummary


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A command that runs a flow in its own process.

    Args:
        settings: of this process, already loaded by the command.
        on_progress: called with the summary as it grows.
    """

    settings: Settings
    on_progress: Callable[[RunSummary], None]


caller: ContextVar[Caller | None] = ContextVar("caller", default=None)
_runs: dict[int, Run] = {}
_servers: dict[int, ServerWatch] = {}
_helpers: dict[int, Helpers] = {}
_ANSWER_WITHIN_S = 15.0  # of requests about memory, which are repeated

logger = logging.getLogger(__name__)


def open_run_of(run_id: int) -> Run:
    """The open run with this id, for its tasks."""
    return _runs[run_id]


def server_of(run_id: int) -> ServerWatch:
    """Whether the Prefect server of an open run responds."""
    return _servers[run_id]


def helpers_of(run_id: int) -> Helpers:
    """The helpers of an open run."""
    return _helpers[run_id]


def is_needed(night_id: int) -> bool:
    """Whether a helper of this run would find work. Takes less than a second."""
    settings = load_settings()
    with open_database(settings) as database:
        return needs_help(database, night_id)


@contextmanager
def open_run(options: AnalyzeOptions) -> Iterator[Run]:
    """Open a run for the block: register it in Postgres, and let its tasks find it."""
    called_by = caller.get()
    settings = settings_for(options, called_by.settings if called_by else None)
    set_up_worker_logging(settings)
    flow_run_id = flow_run.get_id()
    with ExitStack() as stack:
        server = stack.enter_context(ServerWatch(settings.prefect_patience_s))
        stack.push(partial(leave_without_server, server, in_command=called_by is not None))
        # Here: the stages' threads lack Prefect's settings.
        client = stack.enter_context(get_client(httpx_settings={"timeout": _ANSWER_WITHIN_S}, sync_client=True))
        if called_by and flow_run_id:  # a worker reports the end of its runs
            note_process_of(UUID(flow_run_id), client)
        limits = MemoryLimits(client, holder=UUID(flow_run_id) if flow_run_id else None)
        run = stack.enter_context(
            open_stages(
                options,
                settings,
                name=flow_run.get_name() or "analyze",
                flow_run_id=flow_run_id,
                lease_memory=partial(_lease_memory, limits=limits, server=server),
                night_due=NightWatch(client),
                is_cancelled=CancelWatch(client),
            )
        )
        stack.enter_context(log_context(run=run.id))
        _runs[run.id] = run
        _servers[run.id] = server
        _helpers[run.id] = stack.enter_context(open_helpers(run, client, options, settings, server))
        stack.callback(_runs.pop, run.id)
        stack.callback(_servers.pop, run.id)
        stack.callback(_helpers.pop, run.id)
        _end_dead_flow_runs(client, run.database, server)
        stack.callback(_end_newly_dead_flow_runs, client, run, server)
        yield run


def _lease_memory(
    request: MemoryRequest,
    *,
    limits: MemoryLimits,
    server: ServerWatch,
    database: Database,
    run_id: int,
    why_stop: Callable[[], str | None],
) -> AbstractContextManager[HeldMemory]:
    """Lease memory for a run, which does not wait for the memory of a server that is gone."""

    def why_stop_here() -> str | None:
        return "the Prefect server, which counts it, does not respond" if server.is_gone else why_stop()

    return lease_memory(request, limits=limits, database=database, run_id=run_id, why_stop=why_stop_here)


def _end_dead_flow_runs(client: SyncPrefectClient, database: Database, server: ServerWatch) -> None:
    if not server.silent_s:
        end_dead_flow_runs_if_possible(client, database)


def _end_newly_dead_flow_runs(client: SyncPrefectClient, run: Run, server: ServerWatch) -> None:
    """End the flow runs of the runs that this one found dead. Postgres knows sooner than Prefect whether there are."""
    with suppress(NightreelError):
        with run.database.begin() as connection:
            died = any_died_during(connection, run.id)
        if died:
            _end_dead_flow_runs(client, run.database, server)


def show_progress(summary: RunSummary) -> None:
    """Pass the summary to the command that runs the flow, if there is one."""
    if called_by := caller.get():
        called_by.on_progress(summary)
