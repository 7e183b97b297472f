"""`analyze`: one run of the flow in this process, with progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from nightreel.cli.console import Json, command_settings, err, out, print_json, print_line, print_table
from nightreel.demo import DISCLAIMER
from nightreel.models.loading import DEMO
from nightreel.options import AnalyzeOptions, checked_options, settings_for
from nightreel.services import open_services
from nightreel.settings import Settings

if TYPE_CHECKING:
    from nightreel.stages.summary import RunSummary


def analyze(
    source: Annotated[
        str | None, typer.Argument(help="Directory, file:// or s3://bucket/prefix; default: NIGHTREEL_SOURCE.")
    ] = None,
    prompts: Annotated[list[str] | None, typer.Option("--prompts", "-p", help="Prompt set: name or YAML file.")] = None,
    model: Annotated[str | None, typer.Option(help="Directory or hub id of a video LLM.")] = None,
    plan: Annotated[str | None, typer.Option(help="Sampling plan: uniform:N, fps:RATE:CAP or keyframes:CAP.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only objects modified at or after this time (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only objects modified before this time (UTC).")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Analyse at most this many videos.")] = None,
    as_json: Json = False,
) -> None:
    """Analyse the videos of a source that have no answers yet."""
    options = checked_options(
        AnalyzeOptions, source=source, prompts=prompts, model=model, plan=plan, since=since, until=until, limit=limit
    )
    settings = settings_for(options, command_settings())
    if settings.model == DEMO:
        err.print(DISCLAIMER, style="yellow")
    summary = run(options, settings, quiet=as_json)
    if as_json:
        print_json(summary.to_json())
    else:
        print_summary(summary)
    if not summary.is_green:
        raise typer.Exit(1)


def run(options: AnalyzeOptions, settings: Settings, *, quiet: bool = False) -> RunSummary:
    """Run the flow in this process, with the configured services, or with embedded ones that stop after the run.

    Args:
        settings: of this process, overridden by the options.

    Raises:
        NightreelError: the run broke.
        typer.Exit: the run was interrupted; a message is printed.
    """
    try:
        return _run(options, settings, quiet=quiet)
    except KeyboardInterrupt:
        err.print("interrupted: finished videos are kept; the next run analyses the rest", style="yellow")
        raise typer.Exit(130) from None


def _run(options: AnalyzeOptions, settings: Settings, *, quiet: bool) -> RunSummary:
    # Importing Prefect takes as long as starting its server: do both at the same time.
    with ThreadPoolExecutor(1) as importing:
        flows = importing.submit(import_module, "flows.analyze_videos")
        with open_services(settings) as endpoints:
            flow = flows.result().analyze_videos
            from nightreel.orchestration.in_process import flows_in_process, run_analysis

            with flows_in_process(settings, endpoints.prefect_api_url), _progress(quiet) as show:
                return run_analysis(flow, options, settings, on_progress=show)


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[RunSummary], None]]:
    """Yield a function that shows a summary: as a bar on a terminal, as lines in a pipe."""
    printed: list[str] = []
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

    def show(summary: RunSummary) -> None:
        finished = summary.succeeded + summary.failed
        bar.update(
            task,
            completed=finished,
            total=max(finished, summary.listing.added) or None,
            description=f"{summary.listing.listed} listed, {summary.failed} failed",
        )
        line = f"{finished} of {max(finished, summary.listing.added)} videos, {summary.failed} failed"
        if not quiet and not out.is_terminal and finished and line not in printed:
            printed[:] = [line]
            print_line(line)

    with bar:
        yield show


def print_summary(summary: RunSummary) -> None:
    print_line(f"run {summary.run_id}: {summary.headline}", style="bold")
    if summary.reasons:
        print_table(("failed because", "videos"), summary.reasons.most_common())
    if summary.succeeded or summary.failed:
        print_table(("stage", "busy s"), ((name, f"{seconds:.2f}") for name, seconds in summary.timings.items()))


def register(app: typer.Typer) -> None:
    app.command()(analyze)
