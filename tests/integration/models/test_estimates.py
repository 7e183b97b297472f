"""Estimates against allocations by torch on the CPU: never below them, at most a quarter above."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.engine_sides import build_model, frame_side, prompts
from fixtures.meters import ProfiledMeter
from fixtures.plain_generate import moving_pattern
from fixtures.tiny_models import ARCHITECTURES
from transformers import AutoModelForImageTextToText, AutoProcessor

from nightreel.domain import MemoryStage, Segment
from nightreel.models.inprocess.dialogue import Dialogue
from nightreel.models.inprocess.local import LocalModel
from nightreel.models.inprocess.vision import Vision
from nightreel.models.loading import describe_model
from nightreel.models.memory.batches import BatchBudget
from nightreel.settings import load_settings

_SEGMENT = Segment(0, 0.0, 8.0)
_WIDTH = 640  # in towers as narrow as the tiny models', other memory would dominate


def _wide(architecture: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The architecture with a vision tower of real proportions, and its processor, which hardly shrinks frames."""
    model, processor = ARCHITECTURES[architecture]()
    size = processor.video_processor.size
    if size.get("shortest_edge") and size.get("longest_edge"):  # numbers of pixels
        processor.video_processor.size = {"shortest_edge": size["shortest_edge"], "longest_edge": 8 * 224 * 224}
    config = copy.deepcopy(model.config)
    tower = config.vision_config
    if hasattr(tower, "mlp_ratio"):
        tower.embed_dim = _WIDTH
    else:
        tower.hidden_size = _WIDTH
        tower.intermediate_size = 1712 if hasattr(tower, "depth") else 4 * _WIDTH
    setattr(tower, "num_heads" if hasattr(tower, "num_heads") else "num_attention_heads", 10)
    return type(model)(config).to(dtype).eval(), processor


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "internvl_sliding"])
def test_estimates_of_frames_are_close(architecture: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    model, processor = _wide(architecture, dtype)
    vision = Vision(model, processor, Dialogue(processor))
    batch = moving_pattern(frames=16, height=224, width=224)
    # prepared pixels are copied to a GPU and count there
    (prepared,) = vision.prepare([batch], [_SEGMENT])
    budget = BatchBudget(model, meter=ProfiledMeter())
    vision.encode([prepared], budget)
    (peak,) = budget.take_peaks()
    measured = peak.measured_bytes + prepared.shape.values * prepared.shape.value_bytes
    assert measured <= peak.estimated_bytes <= 1.25 * measured


def test_estimates_of_questions_are_close(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    tokens = 64
    directory = build_model(tmp_path, tokens=tokens)
    model = LocalModel(
        AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.bfloat16).eval(),
        AutoProcessor.from_pretrained(directory),
        describe_model(load_settings(model=str(directory), device="cpu", dtype="bfloat16")),
        meter=ProfiledMeter(),
    )
    side = frame_side(tokens)
    frames = [moving_pattern(seed=seed, frames=16, height=side, width=side) for seed in range(2)]
    features = model.encode(frames, segments=[_SEGMENT] * 2, keys=["a", "b"])
    for count in (1, 8):
        model.take_peaks()
        model.ask(features, [prompts(count)] * len(features))
        (peak,) = model.take_peaks()
        assert peak.stage is MemoryStage.LANGUAGE
        assert peak.measured_bytes <= peak.estimated_bytes <= 1.25 * peak.measured_bytes
