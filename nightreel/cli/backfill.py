"""`backfill`: plan the analysis of old videos and its cost; start, watch, pause, resume and cancel it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from nightreel.cli.arguments import check_inputs
from nightreel.cli.console import Json, command_settings, err, out, print_json, print_line, print_table
from nightreel.database import backfills
from nightreel.errors import SettingsError
from nightreel.options import AnalyzeOptions, checked_options, settings_for
from nightreel.services import open_services
from nightreel.settings import Settings
from nightreel.stages.backfill import list_backfill
from nightreel.stages.backfill_costs import SHARD_VIDEOS, BackfillEstimate
from nightreel.stages.backfill_report import amount
from nightreel.stages.backfill_report import rows as estimate_rows
from nightreel.stages.database import open_database
from nightreel.units import counted, human_seconds

_Id = Annotated[int, typer.Argument(min=1, help="Number of the backfill: `nightreel backfill status` lists them.")]


def plan(
    context: typer.Context,
    prefix: Annotated[
        str | None, typer.Option(help="Directory or s3://bucket/prefix, or a prefix below NIGHTREEL_SOURCE.")
    ] = None,
    since: Annotated[datetime | None, typer.Option(help="Only objects modified at or after this time (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only objects modified before this time (UTC).")] = None,
    prompts: Annotated[
        list[str] | None, typer.Option("--prompts", "-p", help="Prompt sets: names or YAML files, separated by commas.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Directory or hub id of a video LLM.")] = None,
    sampling: Annotated[
        str | None, typer.Option("--plan", help="Sampling plan: uniform:N, fps:RATE:CAP or keyframes:CAP.")
    ] = None,
    pool: Annotated[str | None, typer.Option(help="Work pool for its runs; default: NIGHTREEL_WORK_POOL.")] = None,
    shard_videos: Annotated[int, typer.Option(min=SHARD_VIDEOS, help="Videos per shard.")] = SHARD_VIDEOS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost, start nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Start without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Plan the analysis of old videos: show its work and cost, and start it once you confirm."""
    if context.invoked_subcommand:
        return
    may_ask = sys.stdin.isatty() and not as_json
    if not (dry_run or yes or may_ask):
        raise SettingsError("not a terminal, or --json: pass --dry-run to see the plan, or --yes to start it")
    settings = command_settings()
    options = checked_options(
        AnalyzeOptions,
        source=_below(prefix, settings.source),
        since=since,
        until=until,
        prompts=prompts,
        model=model,
        plan=sampling,
    )
    from nightreel.orchestration.part_runs import require_deployment

    settings = settings_for(options, settings)
    check_inputs(options, settings, source="--prefix")
    pool = pool or settings.work_pool
    begun = None
    with open_database(settings) as database, _listing_bar() as show:
        if not dry_run:
            with _prefect_client(settings) as client:
                require_deployment(client, pool)
        with list_backfill(options, settings, database=database, shard_videos=shard_videos, on_page=show) as listed:
            planned = listed.estimate()
            if not as_json:
                _print_plan(planned)
            if planned.shards and not dry_run and (yes or typer.confirm("Start it?")):
                begun = listed.accept(pool=pool)
    if as_json:
        print_json(planned.to_json() | {"backfill": begun})
    if begun is None:
        return
    if not as_json:
        print_line(f"backfill {begun}: accepted", style="bold")
    _submit(settings, pool=pool, quiet=as_json)


def status(
    backfill: Annotated[
        int | None, typer.Argument(min=1, help="Show only this backfill, and problems of its shards.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the progress of backfills: done, failed, rate and time left."""
    with open_database(command_settings()) as database, database.begin() as connection:
        found = backfills.backfill_progress(connection, backfill)
        problems = backfills.shard_problems(connection, backfill) if backfill else []
        if backfill and not found:
            raise backfills.no_such_backfill(connection, backfill)
    rows = [dict(row) | _pace(row) for row in found]
    if as_json:
        print_json([row | {"problems": list(map(dict, problems))} for row in rows])
        return
    if not rows:
        print_line("no backfills yet: `nightreel backfill --prefix ... --dry-run` plans one")
        return
    print_table(
        (
            "backfill",
            "status",
            "source",
            "videos",
            "done",
            "failed",
            "shards done",
            "active",
            "per minute",
            "time left",
        ),
        [
            (
                row["id"],
                row["status"],
                row["source"],
                f"{row['videos']:,}",
                f"{row['done']:,}",
                f"{row['failed']:,}",
                f"{row['shards_done']} of {row['shards']}",
                counted(row["at_work"], "run"),
                amount(row["videos_a_minute"]),
                _time(row["left_s"]) if row["status"] == "running" else "",
            )
            for row in rows
        ],
    )
    if problems:
        print_line()
        print_table(
            ("shard", "status", "broken runs", ""),
            [(item["number"], item["status"], item["attempts"], item["detail"]) for item in problems],
        )


def pause(backfill: _Id) -> None:
    """Pause a backfill: start no more of its runs; active ones end after their chunk. Nothing is lost."""
    _change(backfill, "pause")


def resume(backfill: _Id) -> None:
    """Resume a paused backfill, or retry the shards of a failed one."""
    _change(backfill, "resume")


def cancel(backfill: _Id) -> None:
    """Cancel a backfill for good; finished work is kept."""
    _change(backfill, "cancel")


def _change(backfill_id: int, action: str) -> None:
    settings = command_settings()
    with open_database(settings) as database:
        with database.begin() as connection:
            backfills.change_backfill(connection, backfill_id, action)
            pool = backfills.pool_of(connection, backfill_id) if action == "resume" else None
        with database.begin() as connection:
            flow_runs = [] if action == "resume" else backfills.flow_runs_of(connection, backfill_id)
    done = {"pause": "paused", "resume": "running", "cancel": "cancelled"}[action]
    print_line(f"backfill {backfill_id}: {done}", style="bold")
    _submit(
        settings,
        pool=pool,
        cancelled=flow_runs,
        why=f"backfill {backfill_id} was {done}",
    )


def _submit(
    settings: Settings, *, pool: str | None, cancelled: Sequence[str] = (), why: str = "", quiet: bool = False
) -> None:
    """Cancel runs in Prefect that have not started, and submit the next ones.

    Args:
        pool: whose workers should process them; None: no new work is expected.
    """
    from nightreel.orchestration.dispatch import dispatch
    from nightreel.orchestration.part_runs import cancel_waiting
    from nightreel.orchestration.worker import has_worker

    with open_database(settings) as database, _prefect_client(settings) as client:
        stopped = cancel_waiting(client, list(cancelled), why=why)
        done = dispatch(database, client, settings, linked=False)
        served = pool is None or has_worker(client, pool)
    if not quiet:
        said = [f"{counted(stopped, 'run')} cancelled before they started"] if stopped else []
        print_line("; ".join([*said, str(done)]))
    if not served:
        err.print(
            f"no worker serves pool {pool}: nothing starts until `nightreel worker --pool {pool}` runs on a host",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )


@contextmanager
def _prefect_client(settings: Settings) -> Iterator[Any]:
    """A client of the configured Prefect server, or of the embedded one."""
    from nightreel.orchestration.client import prefect_client

    with open_services(settings, postgres=False) as endpoints:
        assert endpoints.prefect
        with prefect_client(endpoints.prefect) as client:
            yield client


def _below(prefix: str | None, source: str) -> str | None:
    """A prefix as a source: a complete one unchanged, any other below the configured source."""
    if prefix is None or "://" in prefix or prefix.startswith(("/", "~", ".")):
        return prefix
    if not source:
        raise SettingsError(
            f"--prefix {prefix!r} is relative to NIGHTREEL_SOURCE, which is not set: set it, or pass "
            "s3://bucket/prefix or a path that starts with /, ~ or ."
        )
    return f"{source.rstrip('/')}/{prefix}"


def _pace(row: Any) -> dict[str, float | None]:
    """Rate and time left, from the finished videos and the time its runs worked."""
    finished = row["done"] + row["failed"]
    a_second = finished / row["worked_s"] if finished and row["worked_s"] else None
    left = max(0, row["videos"] - finished)
    return {
        "videos_a_minute": None if a_second is None else a_second * 60,
        "left_s": None if a_second is None else left / a_second,
    }


def _time(seconds: float | None) -> str:
    """A duration for people, if it is known."""
    return "not known" if seconds is None else human_seconds(seconds)


def _print_plan(planned: BackfillEstimate) -> None:
    print_table(("plan", "", ""), estimate_rows(planned))
    print_line()
    if not planned.shards:
        print_line("nothing to do")
        return
    print_line("first videos:")
    for uri in planned.first:
        print_line(f"  {uri}")


@contextmanager
def _listing_bar() -> Iterator[Any]:
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} objects listed"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not (err.is_terminal and out.is_terminal),
    )
    task = bar.add_task("listing", total=None)
    with bar:
        yield lambda listed: bar.update(task, completed=listed)


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Analyse old videos with many workers.", invoke_without_command=True)
    group.callback()(plan)
    for command in (status, pause, resume, cancel):
        group.command()(command)
    app.add_typer(group, name="backfill")
