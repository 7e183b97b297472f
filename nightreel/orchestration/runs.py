"""The open runs of this process: flows open them, tasks find them, commands watch them.

Tasks receive the id of a run and find the run here, because models and connections cannot be task inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from nightreel.logs import log_context, set_up_worker_logging
from nightreel.options import AnalyzeOptions, settings_for
from nightreel.orchestration.leases import lease_memory
from nightreel.orchestration.memory_limits import MemoryLimits
from nightreel.orchestration.nights import NightWatch
from nightreel.settings import Settings
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


def open_run_of(run_id: int) -> Run:
    """The open run with this id, for its tasks."""
    return _runs[run_id]


@contextmanager
def open_run(options: AnalyzeOptions) -> Iterator[Run]:
    """Open a run for the block: register it in Postgres, and let its tasks find it."""
    called_by = caller.get()
    settings = settings_for(options, called_by.settings if called_by else None)
    set_up_worker_logging(settings)
    flow_run_id = flow_run.get_id()
    with ExitStack() as stack:
        client = stack.enter_context(get_client(sync_client=True))  # here: the stages' threads lack Prefect's settings
        limits = MemoryLimits(client, holder=UUID(flow_run_id) if flow_run_id else None)
        run = stack.enter_context(
            open_stages(
                options,
                settings,
                name=flow_run.get_name() or "analyze",
                flow_run_id=flow_run_id,
                lease_memory=partial(lease_memory, limits=limits),
                night_due=NightWatch(client),
            )
        )
        stack.enter_context(log_context(run=run.id))
        _runs[run.id] = run
        stack.callback(_runs.pop, run.id)
        yield run


def show_progress(summary: RunSummary) -> None:
    """Pass the summary to the command that runs the flow, if there is one."""
    if called_by := caller.get():
        called_by.on_progress(summary)
