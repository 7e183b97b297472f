"""Flows that a command runs in its own process: their Prefect settings, their logs and their results."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prefect.client.schemas.objects import State
from prefect.logging.configuration import setup_logging
from prefect.logging.handlers import APILogHandler
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    temporary_settings,
)

from nightreel.errors import NightreelError, TransientError
from nightreel.options import AnalyzeOptions
from nightreel.orchestration.client import request_timeout_s, settings_of
from nightreel.orchestration.prefect_errors import prefect_errors
from nightreel.orchestration.runs import Caller, caller
from nightreel.reasons import Reason
from nightreel.services import PrefectApi
from nightreel.settings import Settings
from nightreel.stages.summary import RunSummary

# What Prefect says in many lines for each event that it cannot send: one line of `server_watch` says why. The last two
# warn of events and log lines that are still to be sent when a command ends, which waits for them anyway.
_SENDERS = ("prefect.events.clients", "prefect._internal.concurrency", "EventsWorker", "APILogWorker")


@contextmanager
def flows_in_process(settings: Settings, api: PrefectApi) -> Iterator[None]:
    """Make flows that are called in the block use this server, and keep their logs off the terminal.

    The server stores the log of the run; the terminal shows its progress.
    """
    home = settings.work_dir.resolve() / "prefect-client"
    own = {
        PREFECT_API_REQUEST_TIMEOUT: request_timeout_s(settings),
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # a flow with heartbeats ends up to a second late, for its thread
        PREFECT_HOME: home,
    }
    with temporary_settings({**settings_of(api), **own}):
        setup_logging()
        for handler in logging.getLogger().handlers:
            handler.addFilter(lambda record: not record.name.startswith(("prefect.flow_runs", "prefect.task_runs")))
        for name in _SENDERS:
            logging.getLogger(name).addFilter(lambda record: record.levelno >= logging.CRITICAL)
        try:
            yield
        except NightreelError as error:
            if error.reason is not Reason.PREFECT_UNREACHABLE:
                APILogHandler().flush()
            raise
        else:
            APILogHandler().flush()  # before the server may stop


def run_analysis(
    flow: Any, options: AnalyzeOptions, settings: Settings, *, on_progress: Callable[[RunSummary], None]
) -> RunSummary:
    """Call `flows.analyze_videos.analyze_videos` and wait for its end.

    Args:
        settings: of this process.
        on_progress: called with the summary as it grows.

    Raises:
        NightreelError: the error that ended the run. TransientError `prefect_unreachable`: Prefect's engine could not
            report the state of the flow run. The row of the run in Postgres is right.
    """
    latest: list[RunSummary] = []

    def keep(summary: RunSummary) -> None:
        latest[:] = [summary]
        on_progress(summary)

    token = caller.set(Caller(settings=settings, on_progress=keep))
    try:
        with prefect_errors():
            state: State[Any] = flow(options, return_state=True)
    except NightreelError as lost:
        if lost.reason is not Reason.PREFECT_UNREACHABLE:
            raise
        raise _without_server(lost, latest) from None
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


def _without_server(error: NightreelError, latest: list[RunSummary]) -> NightreelError:
    """The error for a server that went away, with what became of the run."""
    if not latest or not latest[-1].timings:
        return error
    summary = latest[-1]
    if summary.health.red:
        return TransientError(Reason.PREFECT_UNREACHABLE, f"run {summary.run_id} ended: {summary.health.red}")
    return TransientError(
        Reason.PREFECT_UNREACHABLE,
        f"run {summary.run_id} ended in good order ({summary.headline}), but the Prefect server went away before it "
        "was told: start it. The next run corrects its records",
    )
