"""The memory of a model is estimated before loading, and the estimate agrees with the loaded model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fixtures.meters import FakeMeter
from fixtures.plain_generate import moving_pattern
from fixtures.tiny_models import ARCHITECTURES
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor
from typer.testing import CliRunner

from nightreel.cli.app import app
from nightreel.domain import MemoryStage, Prompt, PromptKind, Segment
from nightreel.models.inprocess.footprint import Footprint
from nightreel.models.inprocess.local import LocalModel
from nightreel.models.inprocess.tensors import from_stored
from nightreel.models.loading import estimate_footprint, load_model
from nightreel.settings import load_settings

_PROMPTS = (
    Prompt.of(name="night", kind=PromptKind.YES_NO, text="Is it night?"),
    Prompt.of(name="what", kind=PromptKind.TEXT, text="What is it?", max_new_tokens=30),
)


def _estimate(directory: Path, *, prompts: tuple[Prompt, ...] = _PROMPTS, frames: int = 8, **more: object) -> Footprint:
    settings = load_settings(model=str(directory), device="cpu", **more)
    return estimate_footprint(settings, prompts=prompts, frames=frames, height=90, width=120)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_and_tokens_are_those_of_the_loaded_model(tiny_model: Callable[[str], Path], architecture: str) -> None:
    torch.set_num_threads(1)
    directory = tiny_model(architecture)
    found = _estimate(directory)
    loaded = AutoModelForImageTextToText.from_pretrained(directory)
    assert found.weights_bytes == sum(part.nbytes for part in (*loaded.parameters(), *loaded.buffers()))
    model = load_model(load_settings(model=str(directory), device="cpu"))
    (features,) = model.encode([moving_pattern()], segments=[Segment(0, 0.0, 8.0)], keys=["key"])
    assert found.shape.prefix == len(from_stored(features.tensors)["input/prefix_ids"])
    assert found.shape.generated == 30


def test_the_estimate_equals_the_estimate_that_batches_use(tiny_model: Callable[[str], Path]) -> None:
    directory = tiny_model("internvl")
    found = _estimate(directory)
    processor = AutoProcessor.from_pretrained(directory)
    loaded = AutoModelForImageTextToText.from_pretrained(directory).eval()
    model = LocalModel(loaded, processor, found.spec, meter=FakeMeter(free=1 << 40, peak=1))
    frames = [moving_pattern(seed=seed) for seed in range(2)]
    features = model.encode(frames, segments=[Segment(0, 0.0, 8.0)] * 2, keys=["a", "b"])
    model.ask(features[:1], [_PROMPTS])
    counted = {peak.stage: peak.estimated_bytes // peak.segments for peak in model.take_peaks()}
    assert counted == {MemoryStage.VISION: found.vision_bytes, MemoryStage.LANGUAGE: found.segment_bytes}


def test_half_the_precision_halves_the_weights_and_the_cache(tiny_model: Callable[[str], Path]) -> None:
    whole, half = (_estimate(tiny_model("internvl"), dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert half.token_bytes * 2 == whole.token_bytes
    assert half.weights_bytes < 0.51 * whole.weights_bytes  # positions stay in float32


@pytest.mark.parametrize("method", ["fp8", "awq", "gptq", "compressed-tensors"])
def test_weights_that_are_stored_quantised_have_the_size_of_their_files(
    tiny_model: Callable[[str], Path], tmp_path: Path, method: str
) -> None:
    directory = shutil.copytree(tiny_model("internvl"), tmp_path / "model")
    whole = _estimate(directory).weights_bytes
    config = json.loads((directory / "config.json").read_text())
    quantised = {"quant_method": method, "bits": 8, "group_size": 128, "activation_scheme": "dynamic"}
    (directory / "config.json").write_text(json.dumps({**config, "quantization_config": quantised}))
    (weights,) = directory.glob("*.safetensors")
    save_file({name: part.to(torch.int8) for name, part in load_file(weights).items()}, weights)
    assert _estimate(directory).weights_bytes == weights.stat().st_size < whole / 2
    weights.unlink()  # as of a hub model before its download
    index = {"metadata": {"total_size": 1000}, "weight_map": {}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    assert _estimate(directory).weights_bytes == 1000


_ANOTHER = Prompt.of(name="why", kind=PromptKind.TEXT, text="Why?", max_new_tokens=30)


@pytest.mark.parametrize("more", [{"frames": 16}, {"prompts": (*_PROMPTS, _ANOTHER)}])
def test_more_frames_or_prompts_need_more_memory_and_fit_fewer_segments(
    tiny_model: Callable[[str], Path], more: dict[str, object]
) -> None:
    little = _estimate(tiny_model("internvl"))
    much = _estimate(tiny_model("internvl"), **more)  # type: ignore[arg-type]
    assert much.segment_bytes > little.segment_bytes
    free = little.weights_bytes + 100 * much.segment_bytes
    assert 0 < much.largest_batch(free, on_gpu=True) < little.largest_batch(free, on_gpu=True)


def test_a_prompt_with_the_question_of_another_needs_no_memory(tiny_model: Callable[[str], Path]) -> None:
    again = replace(_PROMPTS[0], name="again")
    assert _estimate(tiny_model("internvl"), prompts=(*_PROMPTS, again)) == _estimate(tiny_model("internvl"))


def test_a_model_that_does_not_fit_has_a_largest_batch_of_zero(tiny_model: Callable[[str], Path]) -> None:
    found = _estimate(tiny_model("internvl"))
    assert found.largest_batch(found.weights_bytes, on_gpu=True) == 0
    assert found.largest_batch(found.weights_bytes - 1, on_gpu=False) == 0


def test_the_command_needs_no_weights(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    directory = Path(shutil.copytree(tiny_model("qwen2_5_vl"), tmp_path / "small-files"))
    (directory / "model.safetensors").unlink()
    done = CliRunner().invoke(app, ["model", str(directory), "--json", "--plan", "uniform:4"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["weights_bytes"] == _estimate(tiny_model("qwen2_5_vl")).weights_bytes
    assert said["segment"].startswith("4 frames of 1280x720")
    assert said["devices"][0]["largest_batch"] > 0
