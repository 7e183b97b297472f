"""`worker`: start the runs that are due; it runs on each host."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from nightreel.cli.console import command_settings, err, plain, print_line
from nightreel.cli.filters import check_word
from nightreel.database.runs import recover_dead_runs
from nightreel.doctor import run_checks
from nightreel.errors import SettingsError
from nightreel.gpu import MemoryDevice
from nightreel.models.memory.device_request import capacities_mib, leasable_devices, runs_at_once
from nightreel.services import Endpoints, open_services
from nightreel.settings import Settings
from nightreel.stages.database import open_database
from nightreel.units import counted


def worker(
    pool: Annotated[str | None, typer.Option(help="Work pool to serve; default: NIGHTREEL_WORK_POOL.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Runs at the same time; default: one per GPU that runs may use.")
    ] = None,
    queue: Annotated[list[str] | None, typer.Option(help="Serve only this queue of the pool.")] = None,
    name: Annotated[str | None, typer.Option(help="Name in Prefect; default: the name of the host.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Run everything that is due, then exit.")] = False,
) -> None:
    """Start due runs until interrupted: nights first, shards of backfills last.

    Runs use this directory and these settings. Device memory limits them too, whatever --limit is. Upkeep does not
    count towards --limit. Ctrl-C ends the runs in good order; later runs do the rest. A second Ctrl-C kills them.
    """
    settings = command_settings(work_pool=pool)
    host = name or platform.node() or "localhost"
    with open_services(settings) as endpoints:
        devices = leasable_devices(settings)
        queues = _chosen(queue, _prepare(settings, endpoints, devices), settings)
        _require_source(settings, endpoints, queues)
        runs = limit or runs_at_once(settings, devices)
        print_line(f"{host} serves {settings.work_pool}: {', '.join(queues)}; {runs} at a time")
        status = _serve(settings, endpoints, queues, name=host, limit=runs, once=once)
    raise typer.Exit(status)


def _serve(
    settings: Settings, endpoints: Endpoints, queues: Sequence[str], *, name: str, limit: int, once: bool
) -> int:
    """Run Prefect's workers until they are interrupted; with `once`, until nothing is due. Returns the exit status."""
    from nightreel.orchestration.prefect_program import prefect_environment, run_together
    from nightreel.orchestration.worker import due_runs, poll_s, worker_commands

    assert endpoints.prefect
    interrupted: list[bool] = []

    def say_stopping() -> None:
        interrupted.append(True)
        err.print("stopping…: runs end after their chunk; Ctrl-C again kills them", style="yellow")

    # Prefect's workers share a directory below the temporary one, which belongs to the first user.
    with TemporaryDirectory(prefix="nightreel-", ignore_cleanup_errors=True) as scratch:
        environment = prefect_environment(
            settings,
            endpoints.prefect,
            NIGHTREEL_WORK_DIR=str(settings.work_dir.resolve()),
            TMPDIR=scratch,
            PREFECT_WORKER_QUERY_SECONDS=str(poll_s()),
        )
        left: set[str] = set()
        while True:
            due = due_runs(endpoints.prefect, settings.work_pool, queues) if once else set()
            if once and (not due or due == left):
                break
            left = due
            status = run_together(
                worker_commands(settings.work_pool, queues, name=name, limit=limit, once=once),
                environment=environment,
                on_interrupt=say_stopping,
                until_all_end=once,
            )
            if not once or status or interrupted:
                return status
    if left and due:
        err.print(f"{counted(len(due), 'run')} due but not started: is the pool or a queue paused?", style="yellow")
        return 1
    print_line("nothing is due" if not left else "nothing more is due")
    return 0


def _prepare(settings: Settings, endpoints: Endpoints, devices: Sequence[MemoryDevice]) -> list[str]:
    """Check what runs need, set the memory limits of this host, and return the queues of the pool.

    Runs that died with an earlier worker are marked as crashed, in Postgres and in Prefect.

    Raises:
        SettingsError: as `prepare_pool`. PermanentError: `database_schema`.
    """
    from nightreel.orchestration.client import prefect_client
    from nightreel.orchestration.dead_flow_runs import end_dead_flow_runs_if_possible
    from nightreel.orchestration.worker import prepare_pool

    assert endpoints.prefect
    with open_database(settings) as database:  # opening it checks that it exists at this version's revision
        recover_dead_runs(database, max_crashes=settings.max_crashes)
        with prefect_client(endpoints.prefect) as client:
            end_dead_flow_runs_if_possible(client, database)
    for check in run_checks(settings, devices=False):
        if not check.ok:
            err.print(f"{check.name}: {plain(check.found)}: {plain(check.advice)}", style="yellow", markup=False)
    capacities = capacities_mib(settings, devices)
    queues = prepare_pool(endpoints.prefect, settings.work_pool, capacities)
    for device, mib in capacities.items():
        print_line(f"{device}: {mib:,} MiB to lease")
    return queues


def _chosen(wanted: list[str] | None, queues: list[str], settings: Settings) -> list[str]:
    """The queues to serve: by default all that this host can."""
    from nightreel.orchestration.deployments.pools import BACKFILL, HELPERS

    for name in wanted or ():
        check_word("--queue", name, queues, kind=f"queue of pool {settings.work_pool}")
    analysis = {HELPERS, BACKFILL} if settings.lists_only else set()
    if impossible := sorted(analysis.intersection(wanted or ())):
        raise SettingsError(
            f"--queue {impossible[0]}: its runs analyse videos, but NIGHTREEL_LISTS_ONLY=true: serve other queues, or "
            "unset it"
        )
    return wanted or [name for name in queues if name not in analysis]


def _require_source(settings: Settings, endpoints: Endpoints, queues: Sequence[str]) -> None:
    """Refuse to serve nights and sweeps that have no source: each of them would fail."""
    from nightreel.orchestration.worker import without_source

    assert endpoints.prefect
    if not settings.source and (names := without_source(endpoints.prefect, settings.work_pool, queues)):
        raise SettingsError(
            f"no source: runs of {', '.join(names)} would fail. Set NIGHTREEL_SOURCE to a directory or "
            "s3://bucket/prefix, or serve only other queues, such as --queue backfill"
        )


def register(app: typer.Typer) -> None:
    app.command()(worker)
