"""`analyze`: one run of the flow in this process, with progress."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from nightreel.cli.arguments import check_inputs
from nightreel.cli.console import Json, command_settings, err, out, plain, print_json, print_line, print_table
from nightreel.cli.streams import discard_output, flush_output
from nightreel.demo import DISCLAIMER
from nightreel.errors import SettingsError
from nightreel.imports import without_collection
from nightreel.models.loading import DEMO
from nightreel.options import MOST_NAMED, AnalyzeOptions, checked_options, settings_for
from nightreel.services import open_services
from nightreel.settings import Settings
from nightreel.storage import Choice, choose
from nightreel.units import human_seconds

if TYPE_CHECKING:
    from nightreel.stages.summary import RunSummary


def analyze(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH]...",
            help="Directories and files, file:// and s3://bucket/prefix or key; default: NIGHTREEL_SOURCE.",
        ),
    ] = None,
    prompts: Annotated[
        list[str] | None, typer.Option("--prompts", "-p", help="Prompt sets: names or YAML files, separated by commas.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Directory or hub id of a video LLM.")] = None,
    plan: Annotated[str | None, typer.Option(help="Sampling plan: uniform:N, fps:RATE:CAP or keyframes:CAP.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only objects modified at or after this time (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only objects modified before this time (UTC).")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Analyse at most this many videos.")] = None,
    ready_by: Annotated[
        str | None, typer.Option(help="Claim only what will be done by this time: HH:MM, or HH:MM and a time zone.")
    ] = None,
    helpers: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Let up to this many runs on NIGHTREEL_WORK_POOL help.")
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Fail if the model's server is down, instead of waiting for its restart.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Analyse the videos of a source that have no answers yet; or only the files and directories that you name."""
    settings = command_settings()
    chosen = choose(paths, settings) if paths else Choice(settings.source, None)
    if len(chosen.only or ()) > MOST_NAMED:
        raise SettingsError(
            f"{len(paths or ()):,} paths: name at most {MOST_NAMED:,}, or the directory that holds them"
        )
    options = checked_options(
        AnalyzeOptions,
        source=chosen.source if paths else None,
        only=chosen.only,
        prompts=prompts,
        model=model,
        plan=plan,
        since=since,
        until=until,
        limit=limit,
        ready_by=ready_by,
        helpers=helpers,
    )
    settings = settings_for(options, settings)
    if no_wait:
        settings = settings.without_patience()
    check_inputs(options, settings, source="the argument")
    if settings.checkpoint == DEMO:
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
    display = _Display(quiet)
    try:
        with display.announcing_a_stop():
            return _run(options, settings, display)
    except KeyboardInterrupt:
        err.print("interrupted: finished videos are kept; the next run analyses the rest", style="yellow")
        raise typer.Exit(130) from None


def _run(options: AnalyzeOptions, settings: Settings, display: _Display) -> RunSummary:
    # Importing Prefect takes as long as starting its server: do both at the same time.
    with ThreadPoolExecutor(1) as importing:
        flows = importing.submit(_import_flows)
        with open_services(settings) as endpoints:
            assert endpoints.prefect
            flow = flows.result().analyze_videos
            from nightreel.orchestration.in_process import flows_in_process, run_analysis

            with flows_in_process(settings, endpoints.prefect), display:
                return run_analysis(flow, options, settings, on_progress=display.show)


def _import_flows() -> Any:
    with without_collection():
        return import_module("flows.analyze_videos")


class _Display:
    """The progress of a run: a bar on a terminal, lines in a pipe. A display that cannot be written stops no run."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._printed = ""
        self._stopping = False
        self._bar = Progress(
            SpinnerColumn("dots" if out.encoding.startswith("utf") else "line"),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=out,
            transient=True,
            disable=quiet or not out.is_terminal,
        )
        self._task = self._bar.add_task("listing", total=None, start=False)

    def __enter__(self) -> Self:
        self._bar.start_task(self._task)
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, summary: RunSummary) -> None:
        """Show the counts of the run."""
        finished = summary.succeeded + summary.failed
        total = max(finished, summary.listing.added)
        if not self._stopping:
            description = f"{summary.listing.listed} listed, {summary.failed} failed"
            self._bar.update(self._task, completed=finished, total=total or None, description=description)
        line = f"{finished} of {total} videos, {summary.failed} failed"
        if self._quiet or out.is_terminal or not finished or line == self._printed:
            return
        self._printed = line
        try:
            print_line(line)
            flush_output()
        except (OSError, SystemExit):  # rich raises SystemExit if the reader of the pipe is gone
            self._quiet = True
            discard_output()

    @contextmanager
    def announcing_a_stop(self) -> Iterator[None]:
        """Say at the first Ctrl-C that the run is stopping: it takes seconds until its work in progress has ended."""
        before = signal.getsignal(signal.SIGINT)
        if before is not signal.default_int_handler:  # ignored in a background job, or another thread's
            yield
            return

        def interrupted(number: int, frame: FrameType | None) -> None:
            self._say_stopping()
            signal.default_int_handler(number, frame)

        signal.signal(signal.SIGINT, interrupted)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _say_stopping(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        if self._bar.live.is_started:
            self._bar.update(self._task, description="stopping…", refresh=True)
        else:
            err.print("stopping…", style="yellow")


def print_summary(summary: RunSummary) -> None:
    print_line(f"run {summary.run_id}: {summary.headline}", style="bold")
    if summary.health.red and not summary.stopped:  # the headline says why a run stopped
        print_line(f"the run failed: {summary.health.red}", style="red")
    if summary.coverage:
        print_line(summary.coverage, style="yellow")
    if summary.quarantined:
        print_line(summary.quarantined, style="yellow")
    if summary.reasons:
        print_table(("failed because", "videos"), summary.reasons.most_common())
    if summary.partly_done:
        print_table(("partly done because", "videos"), summary.partly_done.most_common())
    if summary.succeeded or summary.failed:
        print_table(("stage", "busy"), [(name, human_seconds(seconds)) for name, seconds in summary.timings.items()])
    listing = summary.listing
    if listing.skipped:
        print_line(f"{listing.skipped:,} entries of the listing were skipped: the log names them", style="yellow")
    if not (listing.listed or summary.succeeded or summary.failed):
        print_line(f"no object is below {plain(summary.source)}: is it spelt right?", style="yellow")
    elif listing.filtered and listing.filtered == listing.listed:
        print_line("no object was taken: NIGHTREEL_SUFFIXES, --since or --until leave out all of them", style="yellow")


def register(app: typer.Typer) -> None:
    app.command()(analyze)
