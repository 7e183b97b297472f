"""Tests that need a CUDA device: bfloat16 beside the CPU, estimates beside measured peaks, graphs, exhausted memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from benchmarks.engine_sides import FRAMES, TEXT_TOKENS, build_model, frame_side, prompts
from fixtures.judged import p_of
from fixtures.plain_generate import PlainModel, moving_pattern

from nightreel.domain import Features, MemoryPeak, MemoryStage, Segment
from nightreel.errors import PermanentError, SettingsError
from nightreel.models.base import VideoModel
from nightreel.models.inprocess.graphs import Graphs, capture_on_gpu
from nightreel.models.inprocess.local import LocalModel
from nightreel.models.inprocess.prefix import is_plain
from nightreel.models.loading import describe_model, estimate_footprint, load_model
from nightreel.prompts.wording import texts_of
from nightreel.settings import Settings, load_settings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, torch sees none"),
]

_TOKENS = 256
_SEGMENT = Segment(0, 0.0, 8.0)
_SCORE_TOLERANCE = 0.05
"""Largest error of a probability in bfloat16 beside float32: 8 bits of mantissa, and errors add up over the layers."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("models"), tokens=_TOKENS)


def _settings(directory: Path, *, device: str = "cuda:0", dtype: str = "bfloat16") -> Settings:
    return load_settings(model=str(directory), device=device, dtype=dtype)


def _encode(model: VideoModel, count: int) -> list[Features]:
    side = frame_side(_TOKENS)
    batches = [moving_pattern(seed=seed, frames=FRAMES, height=side, width=side) for seed in range(count)]
    return model.encode(batches, segments=[_SEGMENT] * count, keys=list(map(str, range(count))))


def test_bfloat16_on_a_gpu_is_close_to_float32_on_the_cpu(directory: Path) -> None:
    scored = [prompt for prompt in prompts(8) if prompt.question.kind.scored]
    answers = []
    for settings in (_settings(directory), _settings(directory, device="cpu", dtype="float32")):
        model = load_model(settings)
        answers.append(model.ask(_encode(model, 1), [scored])[0])
    assert [p_of(answer) for answer in answers[0]] == pytest.approx([p_of(a) for a in answers[1]], abs=_SCORE_TOLERANCE)


@pytest.mark.parametrize("scheme", ["bnb-8bit", "bnb-4bit", "torchao-int8", "torchao-int4", "torchao-fp8"])
def test_quantised_weights_are_refused_at_the_start_or_answer(directory: Path, scheme: str) -> None:
    pytest.importorskip("bitsandbytes" if scheme.startswith("bnb") else "torchao")
    scored = [prompt for prompt in prompts(8) if prompt.question.kind.scored]
    quantised = _settings(directory).model_copy(update={"quantization": scheme})
    try:
        describe_model(quantised)
    except SettingsError:
        return
    answers = []
    for settings in (quantised, _settings(directory)):
        model = load_model(settings)
        answers.append([p_of(answer) for answer in model.ask(_encode(model, 1), [scored])[0]])
    assert answers[0] != answers[1], "the weights are not quantised"
    assert answers[0] == pytest.approx(answers[1], abs=0.25)


def test_features_of_a_gpu_are_copied_whole_while_another_thread_asks(directory: Path) -> None:
    asked = [prompt for prompt in prompts(8) if prompt.question.kind.scored]
    model = load_model(_settings(directory, dtype="float32"))
    expected = _encode(model, 8)
    answers = model.ask(expected, [asked] * 8)
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(model.ask, expected, [asked] * 8)
        features = _encode(model, 8)
        assert [one.tensors for one in features] == [one.tensors for one in expected]
        assert asking.result() == answers


def test_flash_attention_in_the_vision_tower_keeps_questions_packed(directory: Path) -> None:
    pytest.importorskip("flash_attn")
    scored = [prompt for prompt in prompts(8) if prompt.question.kind.scored]
    flash = load_model(_settings(directory).model_copy(update={"attention": "flash_attention_2"}))
    assert isinstance(flash, LocalModel)
    assert is_plain(flash._model)
    plain = load_model(_settings(directory))
    answers = [model.ask(_encode(model, 1), [scored])[0] for model in (flash, plain)]
    assert [p_of(answer) for answer in answers[0]] == pytest.approx([p_of(a) for a in answers[1]], abs=_SCORE_TOLERANCE)


def test_texts_are_the_same_with_and_without_graphs_and_as_generate_writes_them(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In float32: in bfloat16, other batches flip near-ties."""
    replays = _count_replays(monkeypatch)
    asked = [prompt for prompt in prompts(8) if not prompt.question.kind.scored]
    settings = _settings(directory, dtype="float32")
    answers = []
    for model in (load_model(settings), load_model(settings.model_copy(update={"cuda_graphs": True}))):
        answers.append([[answer.text for answer in own] for own in model.ask(_encode(model, 2), [asked] * 2)])
    assert not [line for line in caplog.messages if "NIGHTREEL_CUDA_GRAPHS" in line], "a capture or a replay failed"
    assert len(replays) > TEXT_TOKENS // 2
    assert answers[0] == answers[1]
    plain, side = PlainModel(directory), frame_side(_TOKENS)
    plain.model.to("cuda:0")
    monkeypatch.setattr(plain, "inputs", lambda *where: PlainModel.inputs(plain, *where).to("cuda:0"))
    for seed, own in enumerate(answers[1]):
        batch = moving_pattern(seed=seed, frames=FRAMES, height=side, width=side)
        tokens = [plain.generate(batch, _SEGMENT, *texts_of(prompt.question), TEXT_TOKENS) for prompt in asked]
        assert own == [plain.processor.tokenizer.decode(one, skip_special_tokens=True).strip() for one in tokens]


def _count_replays(monkeypatch: pytest.MonkeyPatch) -> list[torch.cuda.CUDAGraph]:
    replays = []
    replay = torch.cuda.CUDAGraph.replay

    def counted(graph: torch.cuda.CUDAGraph) -> None:
        replays.append(graph)
        replay(graph)

    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", counted)
    return replays


def test_a_step_that_reads_a_value_is_not_captured_and_the_device_is_usable_afterwards(
    caplog: pytest.LogCaptureFixture,
) -> None:
    values = torch.ones(4, device="cuda:0")
    step = Graphs(capture_on_gpu).of(lambda: values * values.sum().item())
    assert [step().tolist() for _ in range(3)] == [[4.0] * 4] * 3
    assert [line for line in caplog.messages if "a capture failed" in line]


def _peak_of(model: VideoModel, stage: MemoryStage) -> MemoryPeak:
    """The only new peak of a stage."""
    (peak,) = (peak for peak in model.take_peaks() if peak.stage is stage)
    return peak


def test_the_measured_peak_of_questions_is_at_most_a_fifth_below_its_estimate_and_never_above(directory: Path) -> None:
    count, asked = 8, prompts(8)
    model = load_model(_settings(directory))
    features = _encode(model, count)
    model.ask(features[:1], [asked])  # libraries allocate their workspaces once
    model.take_peaks()
    before = torch.cuda.memory_allocated()
    model.ask(features, [asked] * count)
    peak = _peak_of(model, MemoryStage.LANGUAGE)
    assert (peak.segments, peak.device) == (count, torch.cuda.get_device_name(0))
    # before counts only the weights: the features are on the CPU
    assert 0 < peak.measured_bytes <= torch.cuda.max_memory_allocated() - before
    assert peak.measured_bytes <= peak.estimated_bytes <= 1.25 * peak.measured_bytes


def test_the_measured_peak_of_frames_is_at_most_a_fifth_below_its_estimate_and_never_above(directory: Path) -> None:
    model = load_model(_settings(directory))
    _encode(model, 1)
    model.take_peaks()
    _encode(model, 8)
    peak = _peak_of(model, MemoryStage.VISION)
    assert (peak.segments, peak.device) == (8, torch.cuda.get_device_name(0))
    assert peak.measured_bytes <= peak.estimated_bytes <= 1.25 * peak.measured_bytes


@pytest.fixture
def limit_memory() -> Iterator[Callable[[int], None]]:
    """Limits torch to this many more bytes of the device; removes the limit afterwards."""
    total = torch.cuda.get_device_properties(0).total_memory

    def limit(more_bytes: int) -> None:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + more_bytes) / total)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_exhausted_memory_halves_the_batch_and_loses_no_answer(
    directory: Path, limit_memory: Callable[[int], None]
) -> None:
    settings, count, asked = _settings(directory), 8, prompts(4)
    side = frame_side(_TOKENS)
    estimate = estimate_footprint(settings, prompts=asked, frames=FRAMES, height=side, width=side)
    model = load_model(settings)
    features = _encode(model, count)
    model.take_peaks()
    limit_memory(count * estimate.segment_bytes // 3)
    answers = model.ask(features, [asked] * count)
    assert [len(own) for own in answers] == [len(asked)] * count
    (exhausted,) = (peak for peak in model.take_peaks() if peak.out_of_memory)
    assert exhausted.segments < count
    model.ask(features, [asked] * count)
    assert not any(peak.out_of_memory for peak in model.take_peaks()), "a batch that did not fit is not tried again"
    limit_memory(1 << 20)
    with pytest.raises(PermanentError) as caught:
        model.ask(features[:1], [asked])
    assert caught.value.reason == "out_of_memory"
    limit_memory(count * estimate.segment_bytes * 2)
    assert len(model.ask(features[:1], [asked])[0]) == len(asked), "the device is usable again"
