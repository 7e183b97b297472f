"""`worker`: what runs on each host, and starts the runs that are due there.

Prefect's process worker does the work, as children of ours: one for nights, retries and shards, which take a device for
hours, and one beside it for upkeep, which takes none, mostly seconds, and would otherwise wait for them.
"""

from __future__ import annotations

import platform
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from nightreel.cli.console import err, plain, print_line
from nightreel.doctor import examine
from nightreel.errors import SettingsError
from nightreel.services import Endpoints, open_services
from nightreel.services.configured import without_login
from nightreel.settings import Settings, load_settings
from nightreel.stages.leasing import capacities_mib, leasable_devices
from nightreel.stages.run import open_database

_UPKEEP_AT_ONCE = 3  # of each of its deployments there is one at a time


def worker(
    pool: Annotated[str | None, typer.Option(help="Work pool to serve; default: NIGHTREEL_WORK_POOL.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Runs at once; default: one a GPU, at least one.")] = None,
    queue: Annotated[list[str] | None, typer.Option(help="Serve this queue of the pool alone.")] = None,
    name: Annotated[str | None, typer.Option(help="Name in Prefect; default: that of the host.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Run what is due now, and end.")] = False,
) -> None:
    """Run what is due, until interrupted: nights go first, shards of backfills last.

    Runs work in this directory with these settings. Memory holds back what does not fit, whatever the limit; upkeep
    has a place of its own beside it. Interrupted, it ends its runs in good order, and what they did not finish is
    still to do; interrupted again, it kills them.
    """
    from nightreel.orchestration.deployments.pools import UPKEEP
    from nightreel.orchestration.prefect_program import prefect_environment, run_together

    settings = load_settings(work_pool=pool)
    host = name or platform.node() or "localhost"
    with open_services(settings) as endpoints:
        served = _served(queue, _prepare(settings, endpoints), pool=settings.work_pool)
        most = limit or sum(device.is_gpu for device in leasable_devices(settings)) or 1
        print_line(f"{host} serves {settings.work_pool}: {', '.join(served)}; {most} at once")
        heavy = [one for one in served if one != UPKEEP]
        workers = [(heavy, host, most)] if heavy else []
        workers += [([UPKEEP], f"{host}-upkeep", _UPKEEP_AT_ONCE)] if UPKEEP in served else []
        assert endpoints.prefect_api_url
        # Prefect's workers share one directory below the temporary one, which is the user's who was first.
        with TemporaryDirectory(prefix="nightreel-", ignore_cleanup_errors=True) as scratch:
            status = run_together(
                [_arguments(settings.work_pool, *one, once=once) for one in workers],
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
    """Check what runs need, and share out this host's memory: the queues of the pool.

    Raises:
        SettingsError: there is no such pool, or it is not for processes. PermanentError: `database_schema`.
    """
    with open_database(settings):
        pass  # it is there, at the revision of this version
    for check in examine(settings, devices=False, services=True).checks:
        if not check.ok:
            err.print(f"{check.name}: {plain(check.found)}: {plain(check.advice)}", style="yellow", markup=False)
    from prefect.exceptions import ObjectNotFound

    from nightreel.orchestration.memory_limits import MemoryLimits
    from nightreel.orchestration.prefect_program import prefect_client

    assert endpoints.prefect_api_url
    with prefect_client(endpoints.prefect_api_url) as client:
        try:
            found = client.read_work_pool(settings.work_pool)
        except ObjectNotFound:
            raise SettingsError(
                f"no work pool {settings.work_pool!r} at {without_login(endpoints.prefect_api_url)}: "
                "`nightreel deploy` makes it; --pool or NIGHTREEL_WORK_POOL name another"
            ) from None
        if found.type != "process":
            raise SettingsError(
                f"work pool {settings.work_pool!r} is of type {found.type}, and this serves those of type process: "
                "deployments/README.md says who serves others"
            )
        capacities = capacities_mib(settings, leasable_devices(settings))
        MemoryLimits(client).ensure(capacities)
        for device, mib in capacities.items():
            print_line(f"{device}: {mib:,} MiB to lease")
        return [queue.name for queue in client.read_work_queues(work_pool_name=settings.work_pool)]


def _served(wanted: list[str] | None, there_are: list[str], *, pool: str) -> list[str]:
    if missing := [name for name in wanted or () if name not in there_are]:
        raise SettingsError(
            f"pool {pool!r} has no queue {', '.join(missing)}: expected of {', '.join(sorted(there_are))}"
        )
    return wanted or there_are


def _arguments(pool: str, queues: list[str], name: str, limit: int, *, once: bool) -> list[str]:
    return [
        *("worker", "start", "--type", "process", "--pool", pool, "--name", name, "--limit", str(limit)),
        *(part for queue in queues for part in ("--work-queue", queue)),
        *(["--run-once"] if once else []),
    ]


def register(app: typer.Typer) -> None:
    app.command()(worker)
