"""Leased memory on a real GPU: the driver identifies devices, and torch stays within its lease."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from nightreel.errors import SettingsError
from nightreel.gpu import device_names, memory_devices, without_kind
from nightreel.models.loading import check_model
from nightreel.models.memory.device_request import request_device
from nightreel.models.memory.meters import limit_process
from nightreel.settings import load_settings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, torch sees none"),
]
_MIB = 1 << 20


@pytest.fixture
def limited() -> Iterator[int]:
    """Bytes that torch may allocate on the first GPU."""
    limit = 256 * _MIB
    limit_process(["cuda:0"], limit)
    yield limit
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1.0, "cuda:0")


def test_the_driver_identifies_every_gpu_of_torch_by_its_uuid():
    known = {without_kind(device.uuid): device for device in memory_devices()}
    names = device_names()
    assert sorted(names.values()) == [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    for uuid, name in names.items():
        total = torch.cuda.get_device_properties(name).total_memory
        assert known[uuid].total_bytes == pytest.approx(total, rel=0.05)


def test_torch_allocates_at_most_its_lease(limited):
    half = torch.empty(limited // 2, dtype=torch.uint8, device="cuda:0")
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(limited, dtype=torch.uint8, device="cuda:0")
    assert half.numel() == limited // 2


def test_a_requirement_above_the_capacity_of_the_gpu_is_refused():
    settings = load_settings(device="cuda:0", gpu_memory_mib=1 << 30)
    footprint = check_model(settings, prompts=())
    assert footprint
    with pytest.raises(SettingsError, match="asks for 1073741824 MiB"):
        request_device(settings, footprint)
