"""The memory that a run leases before it loads its model: how much, of which devices, and what it is then held to.

The workbench calls it. Who keeps the books is handed in: `orchestration.leases` with Prefect, nobody in a test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from nightreel.database.connection import Database
from nightreel.domain import MemoryNeed, MemoryPeak, MemoryRequest, Prompt
from nightreel.errors import SettingsError
from nightreel.gpu import MemoryDevice, device_names, memory_devices, ram_device
from nightreel.models.checkpoints.capabilities import ALL_GPUS
from nightreel.models.memory.requirement import memory_need
from nightreel.settings import Settings

_MIB = 1 << 20


class Lease(Protocol):
    """Memory that is ours for as long as its context lasts."""

    limits: tuple[str, ...]
    """The concurrency limits it was taken from: one, or one for each GPU of a model that is spread."""

    def ensure_held(self) -> None:
        """Raises TransientError `memory_lease_lost` where it ran out all the same, and others may have the memory."""
        ...


class LeaseMemory(Protocol):
    def __call__(
        self, request: MemoryRequest, *, database: Database, run_id: int, closing: threading.Event
    ) -> AbstractContextManager[Lease]:
        """Wait until memory is free, and hold it for the context. Where `closing` is set, stop waiting and raise."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a model may take.

    Args:
        device: where it is to be loaded, as the setting `device` has it.
        limit_bytes: of each device, for weights and batches; None: no limit.
    """

    device: str
    limit_bytes: int | None
    lease: Lease | None = None


@contextmanager
def lease_device(
    settings: Settings,
    *,
    prompts: Iterable[Prompt],
    peaks: Iterable[MemoryPeak],
    lease_memory: Callable[[MemoryRequest], AbstractContextManager[Lease]],
) -> Iterator[Allowance]:
    """Hold memory for the model that the settings name. Imports torch.

    Raises:
        SettingsError: it needs more than any of the devices can ever give; both numbers are named.
        Others: as `lease_memory`, and as `estimate_footprint`.
    """
    names = {} if settings.device == "cpu" else device_names()
    devices = _candidates(settings, names)
    capacities = capacities_mib(settings, devices)
    spread = settings.device == ALL_GPUS
    need = memory_need(
        settings,
        prompts=tuple(prompts),
        peaks=peaks,
        gpu=devices[0].name if devices[0].is_gpu else None,
        spread=len(devices) if spread else 1,
    )
    request = MemoryRequest(
        host=devices[0].host,
        capacities=capacities,
        mib=leased_mib(need, capacities, spread=spread, configured_mib=settings.gpu_memory_mib),
        spread=spread,
    )
    with lease_memory(request) as lease:
        granted = {device.limit: names.get(device.uuid, "cpu") for device in devices}
        yield Allowance(
            device=settings.device if spread else granted[lease.limits[0]],
            limit_bytes=max(0, request.mib - need.apart_mib) * _MIB,
            lease=lease,
        )


def leasable_devices(settings: Settings) -> tuple[MemoryDevice, ...]:
    """The devices of this host that runs with these settings may lease of. Imports no torch."""
    return (ram_device(),) if settings.device == "cpu" else memory_devices()


def capacities_mib(settings: Settings, devices: Iterable[MemoryDevice]) -> dict[str, int]:
    """How large the limit of each device is, by its name.

    Raises:
        SettingsError: the reserve leaves nothing.
    """
    return {device.limit: device.leasable_mib(settings.gpu_reserve_mib) for device in devices}


def leased_mib(need: MemoryNeed, capacities: dict[str, int], *, spread: bool, configured_mib: int | None) -> int:
    """How much to lease: what is wanted, less where no device has so much, but never less than is needed.

    >>> leased_mib(MemoryNeed(least_mib=20, wanted_mib=90), {"a": 48, "b": 80}, spread=False, configured_mib=None)
    80

    Raises:
        SettingsError: `memory_too_small`: no device can ever give what is needed or configured.
    """
    most = min(capacities.values()) if spread else max(capacities.values())
    wanted = configured_mib or need.least_mib
    if wanted > most:
        why = "NIGHTREEL_GPU_MEMORY_MIB asks for" if configured_mib else "the model and one segment of its plan need"
        raise SettingsError(
            f"{why} {wanted} MiB, and {_place(capacities, most)} can give {most} MiB at most: take a smaller model or "
            "dtype, a plan with fewer frames, NIGHTREEL_DEVICE=cuda:all, or a smaller NIGHTREEL_GPU_RESERVE_MIB",
            reason="memory_too_small",
        )
    return configured_mib or min(need.wanted_mib, most)


def _place(capacities: dict[str, int], most: int) -> str:
    return next(limit for limit, mib in capacities.items() if mib == most)


def _candidates(settings: Settings, names: dict[str, str]) -> list[MemoryDevice]:
    """The devices that the model may go to: those that torch and the driver both know.

    Raises:
        SettingsError: torch has a GPU that the driver does not tell of.
    """
    if not names:
        return [ram_device()]
    wanted = None if settings.device in ("auto", ALL_GPUS) else f"cuda:{settings.device.partition(':')[2] or 0}"
    known = {device.uuid: device for device in memory_devices()}
    uuids = [uuid for uuid, name in names.items() if wanted in (None, name)]
    missing = [uuid for uuid in uuids if uuid not in known]
    if missing:
        raise SettingsError(
            f"torch has {names[missing[0]]} as {missing[0]}, which the driver does not list (a MIG slice?): its memory "
            "cannot be leased; choose another by CUDA_VISIBLE_DEVICES or NIGHTREEL_DEVICE"
        )
    return [known[uuid] for uuid in uuids]
