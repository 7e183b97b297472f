"""The memory that a run leases before it loads its model: how much, and of which devices.

`model_session` calls it. The caller supplies the lease: with Prefect `orchestration.leases` does, most tests use none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

from nightreel.database.connection import Database
from nightreel.domain import MemoryPeak, MemoryRequest, MemoryRequirement, Prompt
from nightreel.errors import SettingsError
from nightreel.gpu import MemoryDevice, device_names, memory_devices, ram_device
from nightreel.models.checkpoints.capabilities import ALL_GPUS
from nightreel.models.loading import ESTIMATED_SIZE, FoundModel, estimate_footprint
from nightreel.models.memory.footprint import Footprint
from nightreel.models.memory.requirement import memory_requirement
from nightreel.reasons import Reason
from nightreel.settings import Settings
from nightreel.stages.recorder import RunRecorder

_MIB = 1 << 20


class Lease(Protocol):
    """Memory that a run holds within a context."""

    limits: tuple[str, ...]
    """The concurrency limits whose slots it holds: one, or one per GPU of a spread model."""

    def ensure_held(self) -> None:
        """Raise TransientError `memory_lease_lost` if the lease expired: another run may have the memory."""
        ...


class LeaseMemory(Protocol):
    def __call__(
        self, request: MemoryRequest, *, database: Database, run_id: int, closing: threading.Event
    ) -> AbstractContextManager[Lease]:
        """Wait until memory is free, and hold it for the context. If `closing` is set, stop waiting and raise."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedDevice:
    """The device for a model, and the memory that it may use there.

    Args:
        name: of the device, in the form of the setting `device`.
        limit_bytes: per device, for weights and batches; None: no limit.
        lease: None: nothing is leased.
    """

    name: str
    limit_bytes: int | None = None
    lease: Lease | None = None


@contextmanager
def lease_device(
    settings: Settings,
    *,
    found: FoundModel,
    prompts: Iterable[Prompt],
    peaks: Iterable[MemoryPeak],
    recorder: RunRecorder,
    lease_memory: Callable[[MemoryRequest], AbstractContextManager[Lease]],
    footprint: Footprint | None = None,
) -> Iterator[LeasedDevice]:
    """Estimate the memory that the model requires, wait for it, and hold it for the block. Imports torch.

    Args:
        footprint: from `check_model`; None: estimate it now.

    Raises:
        SettingsError: the model requires more than the capacity of any device; the message has both numbers.
        Others: as `lease_memory` and `estimate_footprint`.
    """
    names = {} if settings.device == "cpu" else device_names()
    devices = _candidates(settings, names)
    capacities = capacities_mib(settings, devices)
    spread = settings.device == ALL_GPUS
    if footprint is None:
        width, height = ESTIMATED_SIZE
        with recorder.stage("estimate_memory"):
            footprint = estimate_footprint(
                settings,
                prompts=tuple(prompts),
                frames=settings.sampling_plan.frames,
                height=height,
                width=width,
                found=found,
            )
    requirement = memory_requirement(
        footprint,
        peaks=peaks,
        gpu=devices[0].name if devices[0].is_gpu else None,
        chunk_segments=settings.chunk_segments,
        spread=len(devices) if spread else 1,
    )
    request = MemoryRequest(
        host=devices[0].host,
        capacities=capacities,
        mib=leased_mib(requirement, capacities, spread=spread, configured_mib=settings.gpu_memory_mib),
        spread=spread,
    )
    with ExitStack() as stack:
        with recorder.stage("lease"):  # the wait alone
            lease = stack.enter_context(lease_memory(request))
        granted = {device.limit: names.get(device.uuid, "cpu") for device in devices}
        yield LeasedDevice(
            name=settings.device if spread else granted[lease.limits[0]],
            limit_bytes=max(0, request.mib - requirement.overhead_mib) * _MIB,
            lease=lease,
        )


def leasable_devices(settings: Settings) -> tuple[MemoryDevice, ...]:
    """The devices of this host whose memory runs with these settings may lease. Does not import torch."""
    return (ram_device(),) if settings.device == "cpu" else memory_devices()


def capacities_mib(settings: Settings, devices: Iterable[MemoryDevice]) -> dict[str, int]:
    """The capacity of each device, by the name of its limit.

    Raises:
        SettingsError: the reserve leaves nothing.
    """
    return {device.limit: device.leasable_mib(settings.gpu_reserve_mib) for device in devices}


def leased_mib(
    requirement: MemoryRequirement, capacities: dict[str, int], *, spread: bool, configured_mib: int | None
) -> int:
    """MiB to lease: the preferred amount if a device has that capacity, and at least the minimum.

    >>> required = MemoryRequirement(minimum_mib=20, preferred_mib=90)
    >>> leased_mib(required, {"a": 48, "b": 80}, spread=False, configured_mib=None)
    80

    Raises:
        SettingsError: `memory_too_small`: no device has the capacity for the minimum, or for the configured amount.
    """
    most = min(capacities.values()) if spread else max(capacities.values())
    wanted = configured_mib or requirement.minimum_mib
    if wanted > most:
        why = "NIGHTREEL_GPU_MEMORY_MIB asks for" if configured_mib else "the model and one segment of its plan need"
        raise SettingsError(
            f"{why} {wanted} MiB, but {_limit_with(capacities, most)} can give {most} MiB at most: use a smaller "
            "model or dtype, a plan with fewer frames, NIGHTREEL_DEVICE=cuda:all, or a smaller "
            "NIGHTREEL_GPU_RESERVE_MIB",
            reason=Reason.MEMORY_TOO_SMALL,
        )
    return configured_mib or min(requirement.preferred_mib, most)


def _limit_with(capacities: dict[str, int], most: int) -> str:
    return next(limit for limit, mib in capacities.items() if mib == most)


def _candidates(settings: Settings, names: dict[str, str]) -> list[MemoryDevice]:
    """The devices that the model may use: those that both torch and the driver list.

    Raises:
        SettingsError: torch has a GPU that the driver does not list.
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
            "cannot be leased; select another GPU with CUDA_VISIBLE_DEVICES or NIGHTREEL_DEVICE"
        )
    return [known[uuid] for uuid in uuids]
