"""The GPUs of the driver become devices with limits; without a driver, the RAM is the device."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import psutil
import pytest

from nightreel.errors import SettingsError
from nightreel.gpu import memory_devices
from nightreel.gpu.devices import MIB


class FakeNvml:
    """The parts of NVML in use, with two GPUs."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, broken: str = "") -> None:
        self.broken = broken
        self.opened = 0

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        if self.broken == "nvmlInit":
            raise self.NVMLError("Driver Not Loaded")
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.opened -= 1

    def __getattr__(self, name: str):
        def answer(*arguments):
            if name == self.broken:
                raise self.NVMLError("GPU is lost")
            return {
                "nvmlDeviceGetCount": lambda: 2,
                "nvmlDeviceGetHandleByIndex": lambda index: index,
                "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle}",
                "nvmlDeviceGetName": lambda _: "NVIDIA H200",
                "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=80_000 * MIB, used=5000 * MIB),
                "nvmlDeviceGetComputeRunningProcesses": lambda _: [
                    SimpleNamespace(pid=7, usedGpuMemory=4000 * MIB),
                    SimpleNamespace(pid=8, usedGpuMemory=None),
                ],
            }[name](*arguments)

        return answer


@pytest.fixture
def nvml(monkeypatch):
    def install(**options) -> FakeNvml:
        fake = FakeNvml(**options)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        return fake

    return install


def test_each_gpu_is_a_device_with_its_own_limit(nvml):
    fake = nvml()
    first, second = memory_devices()
    assert first.limit.startswith("gpu-mem-")
    assert first.limit.endswith("-GPU-0")
    assert second.limit.endswith("-GPU-1")
    assert (first.total_bytes, first.used_bytes) == (80_000 * MIB, 5000 * MIB)
    assert [(process.pid, process.used_bytes) for process in first.processes] == [(7, 4000 * MIB), (8, None)]
    assert fake.opened == 0


def test_a_reserve_is_never_leased(nvml):
    nvml()
    device = memory_devices()[0]
    assert device.leasable_mib(None) == 80_000 - 1024
    assert device.leasable_mib(30_000) == 50_000
    with pytest.raises(SettingsError, match=r"NIGHTREEL_GPU_RESERVE_MIB=80000.*80000 MiB"):
        device.leasable_mib(80_000)


def test_without_a_driver_half_of_the_ram_can_be_leased(nvml):
    nvml(broken="nvmlInit")
    (device,) = memory_devices()
    assert device.limit.startswith("cpu-mem-")
    assert not device.is_gpu
    assert device.leasable_mib(None) == pytest.approx(psutil.virtual_memory().total / MIB / 2, abs=1)


def test_a_driver_error_is_raised_and_not_taken_for_missing_gpus(nvml):
    fake = nvml(broken="nvmlDeviceGetMemoryInfo")
    with pytest.raises(SettingsError, match="GPU is lost"):
        memory_devices()
    assert fake.opened == 0
