"""Measure the free memory of a device and the peak of a batch: the only readers of torch's memory statistics.

`batches` uses a meter around each batch. Tests without a GPU pass their own.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

import torch

from nightreel.models.memory.footprint import CPU_BUDGET_BYTES, GPU_SHARE


class MemoryMeter(Protocol):
    device: str
    """The device that its measurements hold for, as "NVIDIA H200"."""

    def available_bytes(self) -> int:
        """Bytes that a batch may use now."""
        ...

    def start(self) -> None:
        """Start to measure a batch."""
        ...

    def peak_bytes(self) -> int | None:
        """The peak since `start`, without the bytes held at `start`; None if it is unknown."""
        ...


class HostMeter:
    """The CPU. torch's allocator keeps no statistics there, so batches have a fixed budget and nothing is measured.

    Args:
        budget_bytes: of a batch.
    """

    device = "cpu"

    def __init__(self, budget_bytes: int = CPU_BUDGET_BYTES) -> None:
        self._budget_bytes = budget_bytes

    def available_bytes(self) -> int:
        return self._budget_bytes

    def start(self) -> None:
        """Do nothing: there is nothing to measure."""

    def peak_bytes(self) -> None:
        return None


class CudaMeter:
    """One or several GPUs. For a model spread over several GPUs, the fullest GPU counts.

    Args:
        limit_bytes: bytes that torch may hold on each GPU, including weights; None: all free memory.
    """

    def __init__(self, gpus: Collection[torch.device], *, limit_bytes: int | None = None) -> None:
        self._gpus = sorted(gpus, key=str)
        self._limit_bytes = limit_bytes
        names = " + ".join(sorted({torch.cuda.get_device_name(gpu) for gpu in self._gpus}))
        self.device = names if len(self._gpus) == 1 else f"{len(self._gpus)} x {names}"
        self._before: list[int] = []

    def available_bytes(self) -> int:
        return int(min(map(self._free_bytes, self._gpus)) * GPU_SHARE)

    def start(self) -> None:
        for gpu in self._gpus:
            torch.cuda.reset_peak_memory_stats(gpu)
        self._before = [torch.cuda.memory_allocated(gpu) for gpu in self._gpus]

    def peak_bytes(self) -> int:
        return max(
            torch.cuda.max_memory_allocated(gpu) - held for gpu, held in zip(self._gpus, self._before, strict=True)
        )

    def _free_bytes(self, gpu: torch.device) -> int:
        free, _ = torch.cuda.mem_get_info(gpu)
        held = torch.cuda.memory_allocated(gpu)
        unused = free + torch.cuda.memory_reserved(gpu) - held
        return unused if self._limit_bytes is None else max(0, min(unused, self._limit_bytes - held))


def meter_of(model: Any, *, limit_bytes: int | None = None) -> MemoryMeter:
    """The meter for the devices that hold a model's weights.

    Args:
        limit_bytes: bytes that weights and batches together may use on each device; None: no limit.
    """
    weights = list(model.parameters())
    gpus = {weight.device for weight in weights if weight.device.type == "cuda"}
    if gpus:
        return CudaMeter(gpus, limit_bytes=limit_bytes)
    if limit_bytes is None:
        return HostMeter()
    left = limit_bytes - sum(weight.nbytes for weight in weights)
    return HostMeter(min(CPU_BUDGET_BYTES, max(0, left)))


def limit_process(gpus: Collection[str], limit_bytes: int) -> None:
    """Limit the bytes that torch's allocator may hold on each of these GPUs; beyond, it raises torch.OutOfMemoryError.

    The limit holds for the whole process, so a process has one model on a device at a time. It does not include the
    CUDA context, which the allocator does not manage.

    Args:
        gpus: as "cuda:0".
    """
    for gpu in gpus:
        total = torch.cuda.get_device_properties(gpu).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total), gpu)
