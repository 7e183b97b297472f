"""How much memory a run leases, and on which devices."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from nightreel.domain import MemoryRequest, MemoryRequirement
from nightreel.errors import SettingsError
from nightreel.gpu import MemoryDevice
from nightreel.models.memory import device_request
from nightreel.settings import Settings
from nightreel.stages import device_lease
from nightreel.stages.recorder import RunRecorder

MIB = 1 << 20
FOOTPRINT: Any = None  # these tests do not estimate memory
REQUIRED = MemoryRequirement(minimum_mib=2000, preferred_mib=9000, overhead_mib=700)


class Held:
    def __init__(self, limits: tuple[str, ...]) -> None:
        self.limits = limits

    def ensure_held(self) -> None:
        """Do nothing: the lease is always held."""


@pytest.fixture
def machine(monkeypatch):
    """Two GPUs of 10,000 and 40,000 MiB; torch numbers them in the reverse order of the driver."""

    def device(uuid: str, mib: int) -> MemoryDevice:
        return MemoryDevice(
            limit=f"gpu-mem-host-{uuid}", uuid=uuid, name="GPU", host="host", total_bytes=mib * MIB, used_bytes=0
        )

    devices = (device("GPU-small", 10_000), device("GPU-large", 40_000))
    monkeypatch.setattr(device_request, "memory_devices", lambda: devices)
    monkeypatch.setattr(device_request, "device_names", lambda: {"large": "cuda:0", "small": "cuda:1"})
    monkeypatch.setattr(device_request, "memory_requirement", lambda *_, **__: REQUIRED)


def lease(grants: str | None = None, **settings) -> tuple[MemoryRequest, device_lease.LeasedDevice]:
    """The request, and the leased device if the limits that end in `grants` are granted."""
    asked: list[MemoryRequest] = []

    @contextmanager
    def lease_memory(request: MemoryRequest):
        asked.append(request)
        granted = [limit for limit in request.capacities if request.spread or limit.endswith(grants or "")]
        yield Held(tuple(granted))

    request = device_request.request_device(Settings(**settings), FOOTPRINT)
    with device_lease.lease_device(request, recorder=RunRecorder(), lease_memory=lease_memory) as device:
        return asked[0], device


def test_a_run_requests_any_gpu_and_loads_on_the_granted_one(machine):
    request, device = lease("small", gpu_reserve_mib=0)
    assert request.capacities == {"gpu-mem-host-GPU-large": 40_000, "gpu-mem-host-GPU-small": 10_000}
    assert request.mib == 9000
    assert device.name == "cuda:1", "torch's number of the device, not the driver's"
    assert device.limit_bytes == (9000 - 700) * MIB, "the CUDA context takes memory outside the allocator"


def test_a_setting_can_name_the_gpu_by_its_torch_number(machine):
    request, _ = lease(device="cuda:1", gpu_reserve_mib=0)
    assert request.capacities == {"gpu-mem-host-GPU-small": 10_000}


def test_a_spread_model_requests_all_gpus(machine):
    request, device = lease(device="cuda:all", gpu_reserve_mib=0)
    assert request.spread
    assert len(request.capacities) == 2
    assert device.name == "cuda:all"


def test_less_than_a_chunk_is_leased_if_no_device_has_more(machine):
    request, _ = lease(device="cuda:1", gpu_reserve_mib=5000)
    assert request.mib == 5000


def test_of_a_small_gpu_a_run_leases_all(machine, monkeypatch):
    monkeypatch.setattr(device_request, "memory_requirement", lambda *_, **__: replace(REQUIRED, preferred_mib=30_000))
    request, device = lease("large", gpu_reserve_mib=0)
    assert {limit[-5:]: request.mib_of(limit) for limit in request.capacities} == {"large": 30_000, "small": 10_000}
    assert device.limit_bytes == (30_000 - 700) * MIB
    _, device = lease("small", gpu_reserve_mib=0)
    assert device.limit_bytes == (10_000 - 700) * MIB


def test_a_gpu_that_cannot_hold_the_model_is_not_requested(machine, monkeypatch):
    needs = replace(REQUIRED, minimum_mib=12_000, preferred_mib=30_000)
    monkeypatch.setattr(device_request, "memory_requirement", lambda *_, **__: needs)
    request, _ = lease(gpu_reserve_mib=0)
    assert [limit[-5:] for limit in request.capacities] == ["large"]
    request, _ = lease(gpu_reserve_mib=0, gpu_memory_mib=9000)
    assert [limit[-5:] for limit in request.capacities] == ["large", "small"], "the setting replaces the estimate"


def test_peaks_of_all_kinds_of_gpus_count(machine, monkeypatch):
    """Peaks are measured for each kind of GPU. The lease must suffice on the one that is granted."""
    kinds = {"A": REQUIRED, "B": replace(REQUIRED, minimum_mib=5000)}
    small, large = device_request.memory_devices()
    monkeypatch.setattr(device_request, "memory_devices", lambda: (replace(small, name="A"), replace(large, name="B")))
    monkeypatch.setattr(device_request, "memory_requirement", lambda *_, gpu, **__: kinds[gpu])
    request = device_request.request_device(Settings(gpu_reserve_mib=0), FOOTPRINT)
    assert request.least_mib == 5000


def test_a_request_larger_than_any_device_is_refused_with_both_numbers(machine):
    with pytest.raises(SettingsError, match=r"2000 MiB.*GPU-large can give 1000 MiB") as refused:
        lease(device="cuda:0", gpu_reserve_mib=39_000)
    assert refused.value.reason == "memory_too_small"
    with pytest.raises(SettingsError, match=r"NIGHTREEL_GPU_MEMORY_MIB asks for 50000 MiB.*39000 MiB"):
        lease(device="cuda:0", gpu_reserve_mib=1000, gpu_memory_mib=50_000)


def test_the_configured_memory_replaces_the_estimate(machine):
    request, _ = lease(gpu_memory_mib=1234)
    assert request.mib == 1234


def test_a_gpu_that_the_driver_does_not_list_is_refused(machine, monkeypatch):
    monkeypatch.setattr(device_request, "device_names", lambda: {"slice": "cuda:0"})
    with pytest.raises(SettingsError, match="slice, which the driver does not list"):
        lease()


def test_on_the_cpu_the_ram_is_leased(machine):
    request, device = lease(device="cpu")
    assert [limit[:8] for limit in request.capacities] == ["cpu-mem-"]
    assert device.name == "cpu"


@pytest.mark.parametrize(
    ("device", "runs", "limits"), [("auto", 2, ["large", "small"]), ("cuda:1", 1, ["small"]), ("cuda:all", 1, None)]
)
def test_a_worker_takes_a_run_for_each_gpu_that_its_runs_may_use(machine, monkeypatch, device, runs, limits):
    monkeypatch.setattr(device_request, "device_names_of_runs", device_request.device_names)
    settings = Settings(device=device)
    devices = device_request.leasable_devices(settings)
    assert device_request.runs_at_once(settings, devices) == runs
    assert [device.uuid[4:] for device in devices] == (limits or ["large", "small"])


def test_a_gpu_that_torch_does_not_have_is_refused(machine):
    with pytest.raises(SettingsError, match=r"NIGHTREEL_DEVICE='cuda:7': torch sees cuda:0, cuda:1"):
        lease(device="cuda:7")
