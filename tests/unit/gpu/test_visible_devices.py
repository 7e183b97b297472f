"""A worker counts the devices that CUDA shows to its runs. CUDA is faked: it numbers the fastest GPU first."""

from __future__ import annotations

from textwrap import dedent

import pytest
from fixtures.nvml import Gpu

from nightreel.errors import SettingsError
from nightreel.gpu import device_names_of_runs
from nightreel.models.memory.device_request import capacities_mib, leasable_devices, runs_at_once
from nightreel.settings import Settings

SLOW, FAST = Gpu("GPU-aa11-slow", mib=24_000), Gpu("GPU-bb22-fast", mib=80_000)
CUT = Gpu("GPU-cc33-cut", slices=(Gpu("MIG-dd44-one", mib=10_000), Gpu("MIG-ee55-two", mib=20_000)))

TORCH = dedent(
    """
    import os
    from types import SimpleNamespace

    def _visible():
        gpus = ["bb22-fast", "aa11-slow"]
        listed = os.environ.get("CUDA_VISIBLE_DEVICES")
        if listed is None:
            return gpus
        if listed.startswith("MIG-"):
            return [listed.split(",")[0].removeprefix("MIG-")]  # a process has one slice at most
        found = []
        for one in filter(None, listed.split(",")):
            matches = [gpu for gpu in gpus if one.startswith("GPU-") and gpu.startswith(one.removeprefix("GPU-"))]
            if one.isdigit() and int(one) < len(gpus):
                matches = [gpus[int(one)]]
            if not matches:
                break  # what follows is hidden
            found += matches
        return found

    cuda = SimpleNamespace(
        is_available=lambda: bool(_visible()),
        device_count=lambda: len(_visible()),
        get_device_properties=lambda index: SimpleNamespace(uuid=_visible()[index]),
    )
    """
)


@pytest.fixture
def torch_of_runs(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text(TORCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "torch.py"


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["fast", "slow"]),
        ("0", ["fast"]),  # the driver's first is the slow one
        ("1", ["slow"]),
        ("GPU-aa11", ["slow"]),
        ("1,0", ["slow", "fast"]),
        ("0,9,1", ["fast"]),
    ],
)
def test_cuda_visible_devices_limits_the_runs_and_the_limits_of_a_worker(
    torch_of_runs, nvml, monkeypatch, visible, names
):
    nvml(SLOW, FAST)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    settings = Settings()
    devices = leasable_devices(settings)
    assert [device.uuid.rpartition("-")[2] for device in devices] == names
    assert runs_at_once(settings, devices) == len(names)
    assert [limit.rpartition("-")[2] for limit in capacities_mib(settings, devices)] == names


def test_a_slice_is_a_device(torch_of_runs, nvml, monkeypatch):
    nvml(SLOW, CUT)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-ee55-two,MIG-dd44-one")
    (device,) = leasable_devices(Settings())
    assert (device.uuid, device.leasable_mib(0)) == ("MIG-ee55-two", 20_000)


def test_where_all_gpus_are_hidden_the_ram_is_leased(torch_of_runs, nvml, monkeypatch):
    nvml(SLOW, FAST)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (device,) = leasable_devices(Settings())
    assert not device.is_gpu


def test_without_a_gpu_no_process_is_started(nvml, monkeypatch):
    nvml(broken="nvmlInit")
    monkeypatch.setattr("subprocess.run", None)
    (device,) = leasable_devices(Settings())
    assert not device.is_gpu


def test_a_torch_that_does_not_work_is_named(torch_of_runs):
    torch_of_runs.write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    with pytest.raises(SettingsError, match="torch does not list the GPUs: OSError: libcudart"):
        device_names_of_runs()
