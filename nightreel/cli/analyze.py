"""`analyze`: one run of the flow in this process, with progress."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from nightreel.cli.console import err, out, print_json, print_line, print_table
from nightreel.demo import DISCLAIMER
from nightreel.errors import NightreelError
from nightreel.models.loading import DEMO
from nightreel.options import AnalyzeOptions, checked_options
from nightreel.services import open_services
from nightreel.settings import Settings
from nightreel.stages.run import settings_for

if TYPE_CHECKING:
    from nightreel.stages.summary import RunSummary

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def analyze(
    source: Annotated[str | None, typer.Argument(help="Directory, file:// or s3://bucket/prefix.")] = None,
    prompts: Annotated[list[str] | None, typer.Option("--prompts", "-p", help="Prompt set: name or YAML file.")] = None,
    model: Annotated[str | None, typer.Option(help="Directory or hub id of a video LLM.")] = None,
    plan: Annotated[str | None, typer.Option(help="uniform:N, fps:RATE:CAP or keyframes:CAP.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only objects modified at or after this time (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only objects modified before this time (UTC).")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many videos.")] = None,
    as_json: Json = False,
) -> None:
    """Analyse the videos of a source that have no answers yet."""
    options = checked_options(
        AnalyzeOptions, source=source, prompts=prompts, model=model, plan=plan, since=since, until=until, limit=limit
    )
    if settings_for(options).model == DEMO:
        err.print(DISCLAIMER, style="yellow")
    summary = run(options, quiet=as_json)
    if as_json:
        print_json(summary.to_json())
    else:
        print_summary(summary)
    if not summary.is_green:
        raise typer.Exit(1)


def run(options: AnalyzeOptions, *, quiet: bool = False) -> RunSummary:
    """Run the flow in this process, against the configured services or embedded ones for the length of the run.

    Raises:
        NightreelError: what broke the run.
        typer.Exit: it was interrupted, and said so.
    """
    try:
        return _run(options, quiet=quiet)
    except KeyboardInterrupt:
        err.print("interrupted: what was finished is kept, the rest is still to do", style="yellow")
        raise typer.Exit(130) from None


def _run(options: AnalyzeOptions, *, quiet: bool) -> RunSummary:
    settings = settings_for(options)
    # Importing Prefect takes as long as starting its server: both at once.
    with ThreadPoolExecutor(1) as importing:
        flows = importing.submit(import_module, "flows.analyze_videos")
        with open_services(settings) as endpoints:
            flow = flows.result().analyze_videos
            with _prefect(settings, endpoints.prefect_api_url), _progress(quiet) as latest:
                state = flow(options, return_state=True)
    if not latest:
        error = state.result(raise_on_failure=False)
        raise error if isinstance(error, BaseException) else NightreelError("run_failed", str(state.message))
    if not (state.is_completed() or state.is_failed()):
        raise NightreelError("run_failed", f"run ended {state.name}: {state.message}")
    error = state.result(raise_on_failure=False) if state.is_failed() else None
    if isinstance(error, NightreelError):
        raise error
    return latest[-1]


@contextmanager
def _prefect(settings: Settings, api_url: str | None) -> Iterator[None]:
    from prefect.logging.configuration import setup_logging
    from prefect.logging.handlers import APILogHandler
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    with temporary_settings({PREFECT_API_URL: api_url, PREFECT_HOME: settings.work_dir.resolve() / "prefect-client"}):
        setup_logging()
        for handler in logging.getLogger().handlers:
            # The UI has the log of the run, the terminal its progress.
            handler.addFilter(lambda record: not record.name.startswith(("prefect.flow_runs", "prefect.task_runs")))
        try:
            yield
        finally:
            APILogHandler().flush()  # before the server may go


@contextmanager
def _progress(quiet: bool) -> Iterator[list[RunSummary]]:
    """Show each summary that the flow tells of; the last one is kept in the list."""
    from nightreel.orchestration.runtime import progress_listener

    latest: list[RunSummary] = []
    said: list[str] = []
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=out,
        transient=True,
        disable=quiet or not out.is_terminal,
    )
    task = bar.add_task("listing", total=None)

    def listen(summary: RunSummary) -> None:
        latest[:] = [summary]
        finished = summary.succeeded + summary.failed
        bar.update(
            task,
            completed=finished,
            total=max(finished, summary.listing.added) or None,
            description=f"{summary.listing.listed} listed, {summary.failed} failed",
        )
        line = f"{finished} of {max(finished, summary.listing.added)} videos, {summary.failed} failed"
        if not quiet and not out.is_terminal and finished and line not in said:
            said[:] = [line]
            print_line(line)

    token = progress_listener.set(listen)
    try:
        with bar:
            yield latest
    finally:
        progress_listener.reset(token)


def print_summary(summary: RunSummary) -> None:
    print_line(f"run {summary.run_id}: {summary.headline}", style="bold")
    if summary.reasons:
        print_table(("failed because", "videos"), summary.reasons.most_common())
    if summary.succeeded or summary.failed:
        print_table(("stage", "busy s"), ((name, f"{seconds:.2f}") for name, seconds in summary.timings.items()))


def register(app: typer.Typer) -> None:
    app.command()(analyze)
