"""What tasks share: the project's @task, the workbench of each open run in this process, and who listens to progress.

Tasks are given a run's id and find its workbench here, because neither models nor connections are task inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import prefect
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run
from prefect.tasks import Task, exponential_backoff

from nightreel.errors import TransientError
from nightreel.logs import log_context, set_up_worker_logging
from nightreel.options import AnalyzeOptions
from nightreel.orchestration.leases import lease_memory
from nightreel.orchestration.memory_limits import MemoryLimits
from nightreel.orchestration.nights import NightWatch
from nightreel.settings import load_settings
from nightreel.stages.run import StagedRun
from nightreel.stages.run import open_run as open_stages
from nightreel.stages.summary import RunSummary
from nightreel.stages.workbench import Workbench

RETRIES = 3
P = ParamSpec("P")
R = TypeVar("R")


def _is_transient(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    result = state.result(raise_on_failure=False)
    return isinstance(result, TransientError)


def task(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """The project's @task: tried again on TransientError alone, with growing and jittered delays.

    Neither cached nor stored: hashing arguments and storing results cost more than most stages, and a stored result
    would silently skip a write.
    """

    return prefect.task(
        name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=RETRIES,
        retry_delay_seconds=exponential_backoff(2),
        retry_jitter_factor=0.5,
        retry_condition_fn=_is_transient,
    )


_benches: dict[int, Workbench] = {}
progress_listener: ContextVar[Callable[[RunSummary], None] | None] = ContextVar("progress_listener", default=None)


def bench(run_id: int) -> Workbench:
    """The workbench of an open run."""
    return _benches[run_id]


@dataclass(frozen=True)
class OpenRun:
    """An open run as the flow sees it."""

    id: int
    chunks_in_flight: int
    model: str
    source: str
    _staged: StagedRun = field(repr=False)

    def report(self) -> tuple[dict[str, int], dict[str, float]]:
        """What was counted in passing (segments decoded, encoded, found in the cache), and seconds by stage."""
        workbench = bench(self.id)
        return dict(sorted(workbench.counts.items())), workbench.timings.report()

    def finish(self, summary: RunSummary) -> None:
        """Close the run in Postgres."""
        status = "completed" if summary.is_green else "failed"
        self._staged.finish(status, stop=summary.stopped, counts=summary.to_json(), timings=summary.timings)


@contextmanager
def open_run(options: AnalyzeOptions) -> Iterator[OpenRun]:
    """A run for the length of the block, registered in Postgres and found by its tasks."""
    flow_run_id = flow_run.get_id()
    set_up_worker_logging(load_settings())
    with ExitStack() as stack:
        client = stack.enter_context(get_client(sync_client=True))  # here: threads of a stage know no settings
        limits = MemoryLimits(client, holder=UUID(flow_run_id) if flow_run_id else None)
        staged = stack.enter_context(
            open_stages(
                options,
                flow_run_id=flow_run_id,
                lease_memory=partial(lease_memory, limits=limits),
                night_waits=NightWatch(client),
            )
        )
        workbench = staged.bench
        stack.enter_context(log_context(run=workbench.run_id))
        _benches[workbench.run_id] = workbench
        stack.callback(_benches.pop, workbench.run_id)
        yield OpenRun(
            id=workbench.run_id,
            chunks_in_flight=workbench.settings.chunks_in_flight,
            model=workbench.spec.name,
            source=workbench.source.url,
            _staged=staged,
        )
