"""`worker`: start the runs that are due; it runs on each host."""

from __future__ import annotations

import platform
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from nightreel.cli.console import command_settings, err, plain, print_line
from nightreel.doctor import run_checks
from nightreel.errors import SettingsError
from nightreel.services import Endpoints, open_services
from nightreel.settings import Settings
from nightreel.stages.database import open_database
from nightreel.stages.device_lease import capacities_mib, leasable_devices


def worker(
    pool: Annotated[str | None, typer.Option(help="Work pool to serve; default: NIGHTREEL_WORK_POOL.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Runs at the same time; default: one per GPU, at least one.")
    ] = None,
    queue: Annotated[list[str] | None, typer.Option(help="Serve only this queue of the pool.")] = None,
    name: Annotated[str | None, typer.Option(help="Name in Prefect; default: the name of the host.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Run what is due now, then exit.")] = False,
) -> None:
    """Start due runs until interrupted: nights first, shards of backfills last.

    Runs use this directory and these settings. Device memory limits them too, whatever --limit is. Upkeep does not
    count towards --limit. Ctrl-C ends the runs in good order; later runs do the rest. A second Ctrl-C kills them.
    """
    from nightreel.orchestration.prefect_program import prefect_environment, run_together
    from nightreel.orchestration.worker import worker_commands

    settings = command_settings(work_pool=pool)
    host = name or platform.node() or "localhost"
    with open_services(settings) as endpoints:
        queues = _chosen(queue, _prepare(settings, endpoints), pool=settings.work_pool)
        runs = limit or sum(device.is_gpu for device in leasable_devices(settings)) or 1
        print_line(f"{host} serves {settings.work_pool}: {', '.join(queues)}; {runs} at a time")
        assert endpoints.prefect_api_url
        # Prefect's workers share a directory below the temporary one, which belongs to the first user.
        with TemporaryDirectory(prefix="nightreel-", ignore_cleanup_errors=True) as scratch:
            status = run_together(
                worker_commands(settings.work_pool, queues, name=host, limit=runs, once=once),
                environment=prefect_environment(
                    settings,
                    endpoints.prefect_api_url,
                    NIGHTREEL_WORK_DIR=str(settings.work_dir.resolve()),
                    TMPDIR=scratch,
                ),
                until_all_end=once,
            )
    raise typer.Exit(status)


def _prepare(settings: Settings, endpoints: Endpoints) -> list[str]:
    """Check what runs need, set the memory limits of this host, and return the queues of the pool.

    Raises:
        SettingsError: as `prepare_pool`. PermanentError: `database_schema`.
    """
    from nightreel.orchestration.worker import prepare_pool

    with open_database(settings):
        pass  # opening it checks that it exists at this version's revision
    for check in run_checks(settings, devices=False):
        if not check.ok:
            err.print(f"{check.name}: {plain(check.found)}: {plain(check.advice)}", style="yellow", markup=False)
    capacities = capacities_mib(settings, leasable_devices(settings))
    assert endpoints.prefect_api_url
    queues = prepare_pool(endpoints.prefect_api_url, settings.work_pool, capacities)
    for device, mib in capacities.items():
        print_line(f"{device}: {mib:,} MiB to lease")
    return queues


def _chosen(wanted: list[str] | None, queues: list[str], *, pool: str) -> list[str]:
    if missing := [name for name in wanted or () if name not in queues]:
        raise SettingsError(
            f"pool {pool!r} has no queue {', '.join(missing)}: expected any of {', '.join(sorted(queues))}"
        )
    return wanted or queues


def register(app: typer.Typer) -> None:
    app.command()(worker)
