"""The GPUs of the driver become devices with limits; without a driver, the RAM is the device."""

from __future__ import annotations

import psutil
import pytest
from fixtures.nvml import Gpu

from nightreel.errors import SettingsError
from nightreel.gpu import memory_devices
from nightreel.gpu.devices import MIB


def test_each_gpu_is_a_device_with_its_own_limit(nvml):
    fake = nvml(Gpu("GPU-0"), Gpu("GPU-1"))
    first, second = memory_devices()
    assert first.limit.startswith("gpu-mem-")
    assert first.limit.endswith("-GPU-0")
    assert second.limit.endswith("-GPU-1")
    assert (first.total_bytes, first.used_bytes) == (80_000 * MIB, 5000 * MIB)
    assert [(process.pid, process.used_bytes) for process in first.processes] == [(7, 4000 * MIB), (8, None)]
    assert fake.opened == 0


def test_a_reserve_is_never_leased(nvml):
    nvml(Gpu("GPU-0"))
    device = memory_devices()[0]
    assert device.leasable_mib(None) == 80_000 - 1024
    assert device.leasable_mib(30_000) == 50_000
    with pytest.raises(SettingsError, match=r"NIGHTREEL_GPU_RESERVE_MIB=80000.*80000 MiB"):
        device.leasable_mib(80_000)


def test_without_a_driver_half_of_the_ram_can_be_leased(nvml):
    nvml(Gpu("GPU-0"), broken="nvmlInit")
    (device,) = memory_devices()
    assert device.limit.startswith("cpu-mem-")
    assert not device.is_gpu
    assert device.leasable_mib(None) == pytest.approx(psutil.virtual_memory().total / MIB / 2, abs=1)


def test_a_driver_error_is_raised_and_not_taken_for_missing_gpus(nvml):
    fake = nvml(Gpu("GPU-0"), broken="nvmlDeviceGetMemoryInfo")
    with pytest.raises(SettingsError, match="GPU is lost"):
        memory_devices()
    assert fake.opened == 0


def test_a_gpu_that_is_cut_is_its_slices(nvml):
    nvml(Gpu("GPU-0"), Gpu("GPU-1", slices=(Gpu("MIG-a", mib=20_000), Gpu("MIG-b", mib=10_000))))
    assert [(device.uuid, device.total_bytes // MIB) for device in memory_devices()] == [
        ("GPU-0", 80_000),
        ("MIG-a", 20_000),
        ("MIG-b", 10_000),
    ]


def test_a_driver_that_knows_no_slices_lists_the_gpus(nvml):
    nvml(Gpu("GPU-0"), broken="nvmlDeviceGetMigMode", error="NVMLError_FunctionNotFound")
    assert [device.uuid for device in memory_devices()] == ["GPU-0"]
