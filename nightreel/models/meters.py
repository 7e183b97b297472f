"""What a device has free, and what a batch took of it: the only readers of torch's memory statistics.

`memory` asks one around each batch. Tests hand in one of their own where there is no GPU.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

import torch

CPU_BUDGET_BYTES = 1 << 30
GPU_SHARE = 0.6
"""Of the memory that is free once the weights are loaded: the rest is for fragments and workspaces."""


class MemoryMeter(Protocol):
    device: str
    """What its measurements are true of, as "NVIDIA H200"."""

    def available_bytes(self) -> int:
        """What a batch may take now."""
        ...

    def start(self) -> None:
        """Begin to watch a batch."""
        ...

    def peak_bytes(self) -> int | None:
        """The most that was held at once since `start`, beside what was held then; None where that is not known."""
        ...


class HostMeter:
    """The CPU: torch's allocator keeps no statistics there, so batches have a fixed budget and nothing is measured."""

    device = "cpu"

    def available_bytes(self) -> int:
        return CPU_BUDGET_BYTES

    def start(self) -> None:
        """There is nothing to watch."""

    def peak_bytes(self) -> None:
        return None


class CudaMeter:
    """One or several GPUs. Of a model that is spread over several, what the fullest has and takes is what counts."""

    def __init__(self, gpus: Collection[torch.device]) -> None:
        self._gpus = sorted(gpus, key=str)
        names = " + ".join(sorted({torch.cuda.get_device_name(gpu) for gpu in self._gpus}))
        self.device = names if len(self._gpus) == 1 else f"{len(self._gpus)} x {names}"
        self._before: list[int] = []

    def available_bytes(self) -> int:
        return int(min(map(_free_bytes, self._gpus)) * GPU_SHARE)

    def start(self) -> None:
        for gpu in self._gpus:
            torch.cuda.reset_peak_memory_stats(gpu)
        self._before = [torch.cuda.memory_allocated(gpu) for gpu in self._gpus]

    def peak_bytes(self) -> int:
        return max(
            torch.cuda.max_memory_allocated(gpu) - held for gpu, held in zip(self._gpus, self._before, strict=True)
        )


def meter_of(model: Any) -> MemoryMeter:
    """The meter of the devices that a model's weights are on."""
    gpus = {weight.device for weight in model.parameters() if weight.device.type == "cuda"}
    return CudaMeter(gpus) if gpus else HostMeter()


def _free_bytes(gpu: torch.device) -> int:
    free, _ = torch.cuda.mem_get_info(gpu)
    return free + torch.cuda.memory_reserved(gpu) - torch.cuda.memory_allocated(gpu)
