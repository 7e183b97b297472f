"""Flows that a command runs in its own process: their Prefect settings, their logs and their results."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prefect.client.schemas.objects import State
from prefect.logging.configuration import setup_logging
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_HOME, temporary_settings

from nightreel.errors import NightreelError
from nightreel.options import AnalyzeOptions
from nightreel.orchestration.client import settings_of
from nightreel.orchestration.runs import Caller, caller
from nightreel.reasons import Reason
from nightreel.services import PrefectApi
from nightreel.settings import Settings
from nightreel.stages.summary import RunSummary


@contextmanager
def flows_in_process(settings: Settings, api: PrefectApi) -> Iterator[None]:
    """Make flows that are called in the block use this server, and keep their logs off the terminal.

    The server stores the log of the run; the terminal shows its progress.
    """
    home = settings.work_dir.resolve() / "prefect-client"
    with temporary_settings({**settings_of(api), PREFECT_HOME: home}):
        setup_logging()
        for handler in logging.getLogger().handlers:
            handler.addFilter(lambda record: not record.name.startswith(("prefect.flow_runs", "prefect.task_runs")))
        try:
            yield
        finally:
            APILogHandler().flush()  # before the server may stop


def run_analysis(
    flow: Any, options: AnalyzeOptions, settings: Settings, *, on_progress: Callable[[RunSummary], None]
) -> RunSummary:
    """Call `flows.analyze_videos.analyze_videos` and wait for its end.

    Args:
        settings: of this process.
        on_progress: called with the summary as it grows.

    Raises:
        NightreelError: the error that ended the run.
    """
    latest: list[RunSummary] = []

    def keep(summary: RunSummary) -> None:
        latest[:] = [summary]
        on_progress(summary)

    token = caller.set(Caller(settings=settings, on_progress=keep))
    try:
        state: State[Any] = flow(options, return_state=True)
    finally:
        caller.reset(token)
    if not latest:
        error = state.result(raise_on_failure=False)
        raise error if isinstance(error, BaseException) else NightreelError(Reason.RUN_FAILED, str(state.message))
    if not (state.is_completed() or state.is_failed()):
        raise NightreelError(Reason.RUN_FAILED, f"the run ended {state.name}: {state.message}")
    error = state.result(raise_on_failure=False) if state.is_failed() else None
    if isinstance(error, NightreelError):
        raise error
    return latest[-1]
