"""The memory a run leases: the weights, a chunk's segments as estimated or measured, and overhead outside tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nightreel.domain import MemoryPeak, MemoryRequirement, MemoryStage, Prompt, PromptKind
from nightreel.models.loading import estimate_footprint, load_model
from nightreel.models.memory.footprint import CPU_BUDGET_BYTES, GPU_SHARE, Footprint
from nightreel.models.memory.meters import meter_of
from nightreel.models.memory.requirement import memory_requirement
from nightreel.settings import Settings, load_settings

_MIB = 1 << 20
_GPU = "NVIDIA H200"
_PROMPTS = (Prompt.of(name="night", kind=PromptKind.YES_NO, text="Is it night?"),)


@pytest.fixture
def settings(tiny_model: Callable[[str], Path]) -> Settings:
    torch.set_num_threads(1)
    return load_settings(model=str(tiny_model("internvl")), plan="uniform:4", chunk_segments=1000)


def _footprint(settings: Settings) -> Footprint:
    return estimate_footprint(settings, prompts=_PROMPTS, frames=4, height=720, width=1280)


def _required(settings: Settings, *peaks: MemoryPeak, gpu: str | None = _GPU, spread: int = 1) -> MemoryRequirement:
    return memory_requirement(
        _footprint(settings), peaks=peaks, gpu=gpu, chunk_segments=settings.chunk_segments, spread=spread
    )


def _batch_bytes(settings: Settings, segments: int) -> int:
    found = _footprint(settings)
    return max(segments * found.vision_bytes, found.language.of(segments))


def test_the_preferred_memory_fits_a_chunk_and_the_minimum_one_segment(settings: Settings) -> None:
    required = _required(settings)
    more = (_batch_bytes(settings, 1000) - _batch_bytes(settings, 1)) / GPU_SHARE
    assert required.preferred_mib - required.minimum_mib == pytest.approx(more / _MIB, abs=2)
    assert required.minimum_mib > required.overhead_mib > 0


def test_a_measured_peak_outweighs_the_estimate(settings: Settings) -> None:
    found = _footprint(settings)
    peak = MemoryPeak(
        stage=MemoryStage.VISION,
        shape=str(found.frames),
        device=_GPU,
        segments=2,
        estimated_bytes=2 * found.vision_bytes,
        measured_bytes=6000 * _MIB,
    )
    assert _required(settings, peak).minimum_mib > 3000 / GPU_SHARE
    assert _required(settings, peak, gpu="another GPU") == _required(settings)


def test_the_budget_of_a_batch_on_the_cpu_is_capped(settings: Settings) -> None:
    required = _required(settings, gpu=None)
    budget_mib = min(_batch_bytes(settings, 1000), CPU_BUDGET_BYTES) / _MIB
    assert required.preferred_mib - required.overhead_mib == pytest.approx(budget_mib, abs=5)


def test_a_model_stays_within_its_lease(settings: Settings) -> None:
    model = torch.nn.Linear(1024, 1024, bias=False)  # 4 MiB
    assert meter_of(model, limit_bytes=10 * _MIB).available_bytes() == 6 * _MIB
    assert meter_of(model, limit_bytes=1 * _MIB).available_bytes() == 0
    assert meter_of(model).available_bytes() == CPU_BUDGET_BYTES
    loaded = load_model(settings.model_copy(update={"device": "cpu"}), limit_bytes=64 * _MIB)
    assert 0 < loaded._budget._meter.available_bytes() < 64 * _MIB
