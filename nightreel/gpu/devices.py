"""Devices whose memory is leased: the GPUs that NVML reports, or the machine's RAM where there are none.

Used by leases and `nightreel gpu`. It does not import torch: a call costs milliseconds and opens no CUDA context.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from nightreel.errors import SettingsError

MIB = 1 << 20
GPU_RESERVE_MIB = 1024
"""Default reserve of each GPU: for other processes' contexts, a display, fragmentation."""
_RAM_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class DeviceProcess:
    """A process with memory on a device. `used_bytes` is None where the driver does not report it."""

    pid: int
    used_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryDevice:
    """A device whose memory can be leased.

    Args:
        limit: name of the concurrency limit that represents its memory.
        uuid: the driver's UUID of a GPU, "GPU-...", or of a slice of one, "MIG-..."; empty for RAM.
        used_bytes: by all processes. processes: those that the driver reports; empty for RAM.
    """

    limit: str
    uuid: str
    name: str
    host: str
    total_bytes: int
    used_bytes: int
    processes: tuple[DeviceProcess, ...] = ()

    @property
    def is_gpu(self) -> bool:
        return bool(self.uuid)

    def leasable_mib(self, reserve_mib: int | None) -> int:
        """The capacity in MiB: the total minus the reserve.

        Free memory does not matter here: our own use would count twice.

        Args:
            reserve_mib: None reserves 1 GiB of a GPU, half of the RAM.

        Raises:
            SettingsError: the reserve leaves nothing.
        """
        total_mib = self.total_bytes // MIB
        if reserve_mib is None:
            reserve_mib = GPU_RESERVE_MIB if self.is_gpu else int(total_mib * _RAM_SHARE)
        if reserve_mib >= total_mib:
            raise SettingsError(
                f"NIGHTREEL_GPU_RESERVE_MIB={reserve_mib} leaves nothing of {self.name}'s {total_mib} MiB: lower it"
            )
        return total_mib - reserve_mib


def memory_devices() -> tuple[MemoryDevice, ...]:
    """The GPUs of this machine in the driver's order, or its RAM where it has none. A GPU that is cut is its slices.

    Raises:
        SettingsError: the driver returns an error.
    """
    return tuple(_gpus()) or (ram_device(),)


def ram_device() -> MemoryDevice:
    """The machine's RAM, for models that run on the CPU even where there are GPUs."""
    memory, host = psutil.virtual_memory(), platform.node()
    return MemoryDevice(
        limit=limit_name("cpu", host),
        uuid="",
        name="RAM",
        host=host,
        total_bytes=memory.total,
        used_bytes=memory.total - memory.available,
    )


def limit_name(kind: str, host: str, uuid: str = "") -> str:
    """The name of a concurrency limit: Prefect's API accepts no `/ % & > <` in it.

    >>> limit_name("gpu", "rack 7/a", "GPU-0f2c"), limit_name("cpu", "näht")
    ('gpu-mem-rack-7-a-GPU-0f2c', 'cpu-mem-n-ht')
    """
    parts = filter(None, (host or "localhost", uuid))
    return f"{kind}-mem-" + "-".join(re.sub(r"[^A-Za-z0-9_.-]", "-", part) for part in parts)


def without_kind(uuid: str) -> str:
    """The UUID without the prefix that torch leaves out.

    >>> without_kind("GPU-0f2c-11"), without_kind("MIG-0f2c-11"), without_kind("0f2c-11")
    ('0f2c-11', '0f2c-11', '0f2c-11')
    """
    return re.sub("^(GPU|MIG)-", "", uuid)


@contextmanager
def open_nvml() -> Iterator[Any]:
    """The initialised NVML module; None without a driver or without `nvidia-ml-py`."""
    try:
        import pynvml
    except ImportError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _gpus() -> Iterator[MemoryDevice]:
    with open_nvml() as nvml:
        if nvml is None:
            return
        try:
            for index in range(nvml.nvmlDeviceGetCount()):
                gpu = nvml.nvmlDeviceGetHandleByIndex(index)
                for handle in _slices(nvml, gpu) if _is_cut(nvml, gpu) else (gpu,):
                    yield _gpu(nvml, handle)
        except nvml.NVMLError as error:
            raise SettingsError(f"the NVIDIA driver does not report the GPUs' memory: {error}") from error


def _is_cut(nvml: Any, gpu: Any) -> bool:
    """Whether CUDA shows slices (MIG) in place of this GPU."""
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(gpu)
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):
        return False
    return bool(current)


def _slices(nvml: Any, gpu: Any) -> Iterator[Any]:
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index)
        except nvml.NVMLError_NotFound:  # it has fewer slices than it could have
            continue
        yield handle


def _gpu(nvml: Any, handle: Any) -> MemoryDevice:
    host, uuid, memory = platform.node(), nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetMemoryInfo(handle)
    return MemoryDevice(
        limit=limit_name("gpu", host, uuid),
        uuid=uuid,
        name=nvml.nvmlDeviceGetName(handle),
        host=host,
        total_bytes=memory.total,
        used_bytes=memory.used,
        processes=tuple(
            DeviceProcess(process.pid, process.usedGpuMemory)
            for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        ),
    )
