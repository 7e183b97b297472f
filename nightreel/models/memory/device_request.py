"""The memory that a run requests for its model, and of which devices: known before anything is leased or loaded.

`stages.model_session` leases it. `doctor` calls it too, so that a model that no device can hold is found by both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from nightreel.domain import MemoryPeak, MemoryRequest, MemoryRequirement
from nightreel.errors import SettingsError
from nightreel.gpu import MemoryDevice, device_names, device_names_of_runs, memory_devices, ram_device, without_kind
from nightreel.models.checkpoints.capabilities import ALL_GPUS
from nightreel.models.memory.footprint import Footprint
from nightreel.models.memory.requirement import memory_requirement
from nightreel.reasons import Reason
from nightreel.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRequest:
    """A request for memory, and what the lease means for torch.

    Args:
        least_mib: with less of a device, the run cannot work.
        overhead_mib: part of the memory that torch's allocator does not count.
        names: the device of each limit, in the form of the setting `device`.
    """

    memory: MemoryRequest
    least_mib: int
    overhead_mib: int
    names: Mapping[str, str]


def request_device(
    settings: Settings, footprint: Footprint, *, peaks: Iterable[MemoryPeak] = (), beside_engine: bool = False
) -> DeviceRequest:
    """The memory to request for a model. Holds nothing. Imports torch.

    Args:
        footprint: from `loading.check_model`.
        peaks: memory peaks of earlier runs.
        beside_engine: a vLLM that is kept has the rest of the model, and of NIGHTREEL_GPU_MEMORY_MIB.

    Raises:
        SettingsError: `memory_too_small`: the model requires more than the capacity of any device; the message has
            both numbers. Or the reserve leaves nothing, or torch has a GPU that the driver does not list.
    """
    names = {} if settings.device == "cpu" else device_names()
    devices = _candidates(settings, names)
    spread = settings.device == ALL_GPUS
    requirement = _largest(
        memory_requirement(
            footprint,
            peaks=peaks,
            gpu=kind,
            chunk_segments=settings.chunk_segments,
            spread=len(devices) if spread else 1,
        )
        for kind in {device.name if device.is_gpu else None for device in devices}
    )
    capacities = capacities_mib(settings, devices)
    configured_mib = None if beside_engine else settings.gpu_memory_mib
    least_mib = configured_mib or requirement.minimum_mib
    mib = leased_mib(requirement, capacities, spread=spread, configured_mib=configured_mib)
    return DeviceRequest(
        memory=MemoryRequest(
            host=devices[0].host,
            capacities={limit: capacity for limit, capacity in capacities.items() if capacity >= least_mib},
            mib=mib,
            spread=spread,
        ),
        least_mib=least_mib,
        overhead_mib=requirement.overhead_mib,
        names={
            device.limit: settings.device if spread else names.get(without_kind(device.uuid), "cpu")
            for device in devices
        },
    )


def request_for_engine(whole: DeviceRequest, beside: DeviceRequest | None) -> DeviceRequest:
    """The memory of a vLLM that is kept: what a run would request for the whole model, less what it requests beside it.

    Both fit on one device.

    Args:
        whole: of a model in one run. beside: of a run that uses the vLLM; None: it needs none.
    """
    if beside is None:
        return whole
    mib = whole.memory.mib
    capacities = {limit: capacity for limit, capacity in whole.memory.capacities.items() if capacity >= mib}
    return replace(whole, memory=replace(whole.memory, mib=mib - beside.memory.mib, capacities=capacities))


def leasable_devices(settings: Settings) -> list[MemoryDevice]:
    """The devices of this host whose memory runs with these settings may lease: what `request_device` chooses from.

    None if runs of this host only list.

    Does not import torch, and opens no CUDA context. Where the driver has a GPU, it takes the seconds in which another
    process imports torch.

    Raises:
        SettingsError: as `request_device`, or torch does not work.
    """
    if settings.lists_only:
        return []
    if settings.device == "cpu" or not any(device.is_gpu for device in memory_devices()):
        return [ram_device()]
    return _candidates(settings, device_names_of_runs())


def runs_at_once(settings: Settings, devices: Sequence[MemoryDevice]) -> int:
    """How many runs these devices take: one each, and one in total for a spread model, and where there are none."""
    return 1 if settings.device == ALL_GPUS else max(1, len(devices))


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

    A smaller device is leased whole, if that is enough: `MemoryRequest.mib_of`.

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


def _largest(requirements: Iterable[MemoryRequirement]) -> MemoryRequirement:
    """What suffices on GPUs of several kinds: their peaks were measured separately."""
    return max(requirements, key=lambda requirement: (requirement.minimum_mib, requirement.preferred_mib))


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
    known = {without_kind(device.uuid): device for device in memory_devices()}
    uuids = [uuid for uuid, name in names.items() if wanted in (None, name)]
    if not uuids:
        raise SettingsError(
            f"NIGHTREEL_DEVICE={settings.device!r}: torch sees {', '.join(names.values())}: use one of these, or auto"
        )
    missing = [uuid for uuid in uuids if uuid not in known]
    if missing:
        raise SettingsError(
            f"torch has {names[missing[0]]} as {missing[0]}, which the driver does not list: its memory cannot be "
            "leased; select another GPU with CUDA_VISIBLE_DEVICES or NIGHTREEL_DEVICE"
        )
    return [known[uuid] for uuid in uuids]
