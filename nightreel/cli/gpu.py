"""`gpu`: show the memory of this machine's devices, and the runs of all hosts that hold or need some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import psutil
import typer

from nightreel import services
from nightreel.cli.console import Json, command_settings, print_json, print_line, print_table
from nightreel.database.memory_queue import read_queue
from nightreel.domain import QueuedRequest
from nightreel.errors import NightreelError
from nightreel.gpu import MemoryDevice, memory_devices
from nightreel.orchestration.admission import held_mib
from nightreel.settings import Settings
from nightreel.stages.database import open_database

_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUse:
    """A row of the table of devices, MiB.

    Args:
        runs: that hold memory of it.
        limit_mib: size of Prefect's concurrency limit; None if no server was asked or no run has created it yet.
        leased_mib: held by live runs.
        lapsing_mib: held in Prefect by unknown runs: of another database, or killed; a killed run's part is free
            once its lease expires.
        others_mib: used by processes without a lease.
    """

    device: str
    limit: str
    runs: tuple[int, ...]
    total_mib: int
    leasable_mib: int
    limit_mib: int | None
    leased_mib: int
    lapsing_mib: int
    free_mib: int
    used_mib: int
    others_mib: int


def gpu(as_json: Json = False) -> None:
    """Show the memory of GPUs (without one: of the RAM): leased by runs, free, used by other processes.

    Below, each run that holds memory or waits for some, on all hosts: of which night it is, and whether it helps one.
    """
    settings = command_settings()
    devices = memory_devices()
    queue, no_queue = _queue(settings)
    taken, no_taken = _taken(settings, [device.limit for device in devices])
    uses = [_use(device, settings, queue, taken.get(device.limit)) for device in devices]
    problems = [problem for problem in (no_queue, no_taken) if problem]
    if as_json:
        print_json({"devices": list(map(asdict, uses)), "leases": list(map(asdict, queue)), "problems": problems})
        return
    print_table(
        ("device", "limit", "total", "leasable", "leased", "lapsing", "free", "used", "by others", "runs"),
        [
            (
                use.device,
                use.limit,
                _mib(use.total_mib),
                _mib(use.limit_mib or use.leasable_mib),
                _mib(use.leased_mib),
                _mib(use.lapsing_mib),
                _mib(use.free_mib),
                _mib(use.used_mib),
                _mib(use.others_mib),
                ", ".join(map(str, use.runs)),
            )
            for use in uses
        ],
    )
    if queue:
        print_line()
        print_table(("run", "name", "helps", "state", "memory", "limit", "minutes", "pid"), map(_row, queue))
    for problem in problems:
        print_line(problem)


def _use(
    device: MemoryDevice, settings: Settings, queue: Sequence[QueuedRequest], taken: tuple[int, int] | None
) -> DeviceUse:
    leasable = device.leasable_mib(settings.gpu_reserve_mib)
    leased = held_mib(queue, device.limit)
    limit, active = taken or (None, leased)
    ours = sum(_used_bytes(device, request.pid) for request in queue if device.limit in request.granted)
    return DeviceUse(
        device=device.name,
        limit=device.limit,
        runs=tuple(
            request.run_id for request in queue if device.limit in request.granted and request.run_id is not None
        ),
        total_mib=device.total_bytes // _MIB,
        leasable_mib=leasable,
        limit_mib=limit,
        leased_mib=leased,
        lapsing_mib=max(0, active - leased),
        free_mib=max(0, (limit or leasable) - max(active, leased)),
        used_mib=device.used_bytes // _MIB,
        others_mib=max(0, device.used_bytes - ours) // _MIB,
    )


def _used_bytes(device: MemoryDevice, pid: int | None) -> int:
    """Bytes of a device that a process of this host uses; 0 if not known."""
    if device.is_gpu:
        return sum(process.used_bytes or 0 for process in device.processes if process.pid == pid)
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0


def _queue(settings: Settings) -> tuple[list[QueuedRequest], str]:
    """The granted and waiting requests of all hosts, or why they are unknown."""
    postgres = services.status(settings)[0]
    if postgres.state not in ("running", "external"):
        return [], f"leases are unknown: Postgres is {postgres.state}"
    try:
        with open_database(settings) as database, database.begin() as connection:
            return read_queue(connection), ""
    except NightreelError as error:
        return [], f"leases are unknown: {error.detail}"


def _taken(settings: Settings, limits: Sequence[str]) -> tuple[dict[str, tuple[int, int]], str]:
    """Size and use of Prefect's limits, or why they are unknown."""
    prefect = services.status(settings)[1]
    if prefect.state not in ("running", "external"):
        return {}, f"Prefect's limits are unknown: its server is {prefect.state}"
    from nightreel.orchestration.memory_limits import read_limits

    try:
        api = services.prefect_api(settings)
        return (read_limits(api, limits) if api else {}), ""
    except NightreelError as error:
        return {}, f"Prefect's limits are unknown: {error.detail}"


def _row(request: QueuedRequest) -> tuple[object, ...]:
    since = request.granted_at or request.requested_at
    minutes, seconds = divmod(int((datetime.now(UTC) - since).total_seconds()) if since else 0, 60)
    state = "holds" if request.granted else "waits"
    separator = ", " if request.granted or request.spread else " or "
    limits = separator.join(request.granted or request.limits)
    helps = "" if request.night_id is None else f"run {request.night_id}"
    name, took = request.run_name or "", f"{minutes}:{seconds:02}"
    return request.run_id, name, helps, state, _mib(request.mib), limits, took, request.pid


def _mib(count: int) -> str:
    return f"{count:,} MiB"


def register(app: typer.Typer) -> None:
    app.command()(gpu)
