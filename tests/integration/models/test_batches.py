"""Batches fit memory; if it runs out, they are halved, and a segment that does not fit alone fails with a reason."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures.judged import p_of
from fixtures.meters import FakeMeter, Scarce
from fixtures.plain_generate import moving_pattern
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.cache_utils import DynamicCache, LinearAttentionLayer

from nightreel.domain import Band, Features, MemoryPeak, MemoryStage, Prompt, PromptKind, Segment
from nightreel.errors import PermanentError
from nightreel.models.base import VideoModel
from nightreel.models.inprocess.local import LocalModel
from nightreel.models.inprocess.packed import PackedPrefix
from nightreel.models.inprocess.tensors import Tensors
from nightreel.models.inprocess.vision import Vision
from nightreel.models.loading import describe_model, load_model
from nightreel.models.memory.batches import BatchBudget
from nightreel.models.memory.estimates import Estimates, SegmentShape
from nightreel.settings import load_settings

_SEGMENT = Segment(0, 0.0, 4.0)
_PROMPTS = [
    Prompt.of(name="sure", kind=PromptKind.YES_NO, text="Is it so?", band=Band(0.0, 0.0)),
    Prompt.of(name="why", kind=PromptKind.TEXT, text="Why?", max_new_tokens=6, when=(("sure", "yes"),)),
]


@pytest.fixture(scope="module")
def directory(tiny_model: Callable[[str], Path]) -> Path:
    torch.set_num_threads(1)
    return tiny_model("internvl")


@pytest.fixture
def model(directory: Path) -> VideoModel:
    """A model loaded for each test, because it remembers batches that did not fit."""
    return load_model(load_settings(model=str(directory), device="cpu"))


def _encode(model: VideoModel, count: int) -> list[Features]:
    batches = [moving_pattern(seed=i) for i in range(count)]
    return model.encode(batches, segments=[_SEGMENT] * count, keys=list(map(str, range(count))))


@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError])
@pytest.mark.parametrize("late", [0, 1])
def test_questions_that_do_not_fit_together_are_asked_in_halves(
    model: VideoModel, monkeypatch: pytest.MonkeyPatch, error: type[RuntimeError], late: int
) -> None:
    features = _encode(model, 5)
    expected = model.ask(features, [_PROMPTS] * 5)
    scarce = Scarce(PackedPrefix.ask, most=2, late=late, error=error)
    monkeypatch.setattr(
        PackedPrefix, "ask", lambda self, *given, **more: scarce(len(self.lengths), self, *given, **more)
    )
    answers = model.ask(features, [_PROMPTS] * 5)
    assert [[answer.text for answer in one] for one in answers] == [[answer.text for answer in one] for one in expected]
    assert max(scarce.sizes) == 5
    assert scarce.sizes[-1] <= 2


def test_a_segment_that_does_not_fit_alone_causes_a_permanent_error(
    model: VideoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = _encode(model, 2)
    scarce = Scarce(PackedPrefix.ask, most=0, error=torch.OutOfMemoryError)
    monkeypatch.setattr(
        PackedPrefix, "ask", lambda self, *given, **more: scarce(len(self.lengths), self, *given, **more)
    )
    with pytest.raises(PermanentError, match="use a sampling plan with fewer frames") as caught:
        model.ask(features, [_PROMPTS] * 2)
    assert caught.value.reason == "out_of_memory"


def test_frames_that_do_not_fit_together_are_encoded_in_halves(
    model: VideoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _encode(model, 3)
    scarce = Scarce(Vision._encode, most=1, error=torch.OutOfMemoryError)
    monkeypatch.setattr(Vision, "_encode", lambda self, segments: scarce(len(segments), self, segments))
    encoded = _encode(model, 3)
    assert [features.key for features in encoded] == [features.key for features in expected]
    assert scarce.sizes == [3, 1, 1, 1]


def test_other_errors_do_not_count_as_lack_of_memory(directory: Path) -> None:
    calls: list[Sequence[int]] = []

    def work(items: Sequence[int]) -> None:
        calls.append(items)
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        _budget(directory, FakeMeter(free=1 << 40)).run([1, 2, 3], work, shape_of=_shape, what="testing")
    assert calls == [[1, 2, 3]]


@pytest.mark.parametrize("architecture", ["internvl", "qwen2_5_vl", "qwen3_vl", "smolvlm", "internvl_sliding"])
def test_keys_and_values_of_a_token_are_counted_exactly(tiny_model: Callable[[str], Path], architecture: str) -> None:
    loaded = AutoModelForImageTextToText.from_pretrained(tiny_model(architecture))
    cache = DynamicCache(config=loaded.config.get_text_config())
    with torch.inference_mode():
        loaded.base_model(input_ids=torch.ones(1, 10, dtype=torch.long), past_key_values=cache, use_cache=True)
    held = sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))
    assert Estimates(loaded).token_bytes * 10 == held


def test_copies_of_a_hybrid_model_are_counted_exactly(tiny_model: Callable[[str], Path]) -> None:
    loaded = AutoModelForImageTextToText.from_pretrained(tiny_model("qwen3_5"))
    cache = DynamicCache(config=loaded.config.get_text_config())
    with torch.inference_mode():
        loaded.base_model(input_ids=torch.ones(1, 10, dtype=torch.long), past_key_values=cache, use_cache=True)
    held = 0
    for layer in cache.layers:
        if isinstance(layer, LinearAttentionLayer):
            held += sum(part.nbytes for part in (layer.conv_states[0], layer.recurrent_states[0]))
        else:
            held += sum(part.nbytes for part in (layer.keys, layer.values))
    one, two = (
        Estimates(loaded).of_batches(SegmentShape(prefix=10, suffixes=5, generated=5, reads=1, copies=copies))
        for copies in (1, 2)
    )
    assert two.kept - one.kept == held


def test_every_part_of_a_segment_adds_to_its_estimate(directory: Path) -> None:
    estimates = _estimates(directory)
    least = estimates.of_batches(SegmentShape(prefix=100, suffixes=10, generated=10, reads=1))
    for more in ({"prefix": 200}, {"suffixes": 20}, {"generated": 20}, {"reads": 2}, {"copies": 1}):
        shape = SegmentShape(**{"prefix": 100, "suffixes": 10, "generated": 10, "reads": 1, **more})
        assert estimates.of_batches(shape).of(1000) > least.of(1000)


# -- learning from batches -----------------------------------------------------------------------------------------

_SHAPE = SegmentShape(prefix=100, suffixes=10, generated=10, reads=1)


def _shape(_: int) -> SegmentShape:
    return _SHAPE


def _loaded(directory: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(directory)


def _estimates(directory: Path) -> Estimates:
    return Estimates(_loaded(directory))


def _budget(directory: Path, meter: FakeMeter, known: Sequence[MemoryPeak] = ()) -> BatchBudget:
    return BatchBudget(_loaded(directory), known=known, meter=meter)


def _sizes(budget: BatchBudget, count: int, *, most: int = 1000, **more: Any) -> list[int]:
    """The batch sizes tried for `count` items on a device that fails above `most`."""
    scarce = Scarce(lambda: None, most=most)
    budget.run(list(range(count)), lambda batch: scarce(len(batch)), shape_of=_shape, what="testing", **more)
    return scarce.sizes


def test_batches_are_as_large_as_the_estimate_allows(directory: Path) -> None:
    of_batches = _estimates(directory).of_batches(_SHAPE)
    assert _sizes(_budget(directory, FakeMeter(free=of_batches.of(4))), 10) == [4, 4, 2]
    assert _sizes(_budget(directory, FakeMeter(free=of_batches.of(4))), 10, most=3) == [4, 2, 2, 2, 2, 2]
    assert _sizes(_budget(directory, FakeMeter(free=1)), 3) == [1, 1, 1]


def test_a_measured_peak_corrects_the_next_batch_and_the_next_run(directory: Path) -> None:
    of_batches = _estimates(directory).of_batches(_SHAPE)
    meter = FakeMeter(free=of_batches.of(8), peak=2 * of_batches.of(8))  # twice the estimate for 8
    budget = _budget(directory, meter)
    assert _sizes(budget, 8) == [8]
    (peak,) = budget.take_peaks()
    assert (peak.stage, peak.device, peak.segments) == (MemoryStage.LANGUAGE, "fake GPU", 8)
    assert (peak.estimated_bytes, peak.measured_bytes) == (of_batches.of(8), 2 * of_batches.of(8))
    assert budget.take_peaks() == []
    meter.peak = 0
    assert _sizes(budget, 8) == [3, 3, 2], "in this process"
    assert _sizes(_budget(directory, meter, [peak]), 8) == [3, 3, 2], "in the next process"


def test_a_batch_that_did_not_fit_is_never_tried_again(directory: Path) -> None:
    meter = FakeMeter(free=_estimates(directory).of_batches(_SHAPE).of(4))
    budget = _budget(directory, meter)
    assert _sizes(budget, 12, most=2) == [4, 2, 2, 2, 2, 2, 2]
    assert _sizes(budget, 4, most=2) == [2, 2]
    (peak,) = budget.take_peaks()
    assert (peak.out_of_memory, peak.segments, peak.measured_bytes) == (True, 4, meter.free)
    assert _sizes(_budget(directory, meter, [peak]), 4, most=2) == [2, 2]
    assert _sizes(_budget(directory, FakeMeter(free=2 * meter.free), [peak]), 4) == [4], "with more free memory"


def test_a_device_without_measurements_leaves_the_estimate_unchanged(directory: Path) -> None:
    of_batches = _estimates(directory).of_batches(_SHAPE)
    budget = _budget(directory, FakeMeter(free=of_batches.of(4), peak=None))
    assert _sizes(budget, 8) == [4, 4]
    assert budget.take_peaks() == []


def _measured_model(directory: Path, meter: FakeMeter, known: Sequence[MemoryPeak] = ()) -> LocalModel:
    processor = AutoProcessor.from_pretrained(directory)
    spec = describe_model(load_settings(model=str(directory), device="cpu"))
    return LocalModel(_loaded(directory).eval(), processor, spec, peaks=known, meter=meter)


def _batches_of(monkeypatch: pytest.MonkeyPatch, *, most: int = 1000) -> Scarce:
    scarce = Scarce(PackedPrefix.ask, most=most)
    monkeypatch.setattr(
        PackedPrefix, "ask", lambda self, *given, **more: scarce(len(self.lengths), self, *given, **more)
    )
    return scarce


def test_a_batch_of_four_that_does_not_fit_becomes_batches_of_two_for_good(
    directory: Path, model: VideoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = _encode(model, 4)
    expected = model.ask(features, [_PROMPTS[:1]] * 4)
    ours = _measured_model(directory, FakeMeter(free=1 << 30))
    scarce = _batches_of(monkeypatch, most=2)
    for sizes in ([4, 2, 2], [2, 2]):
        scarce.sizes.clear()
        answers = ours.ask(features, [_PROMPTS[:1]] * 4)
        assert scarce.sizes == sizes
        assert [p_of(one[0]) for one in answers] == pytest.approx([p_of(one[0]) for one in expected], abs=1e-5)


def test_the_vision_tower_also_takes_as_many_segments_as_memory_allows(
    directory: Path, model: VideoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _encode(model, 5)
    encode, sizes = Vision._encode, []

    def watched(self: Vision, segments: Sequence[Any]) -> list[Tensors]:
        sizes.append(len(segments))
        return encode(self, segments)

    monkeypatch.setattr(Vision, "_encode", watched)
    meter = FakeMeter(free=1 << 40)
    ours = _measured_model(directory, meter)
    (prepared,) = ours._vision.prepare([moving_pattern()], [_SEGMENT])
    meter.free = _estimates(directory).of_batches(prepared.shape).of(2)
    meter.peak = meter.free
    sizes.clear()
    encoded = _encode(ours, 5)
    assert sizes == [2, 1, 1, 1], "a batch of two took all free memory and left no margin"
    assert [(one.key, one.metadata) for one in encoded] == [(one.key, one.metadata) for one in expected]
    peak = next(peak for peak in ours.take_peaks() if peak.segments == 2)
    assert (peak.stage, peak.measured_bytes) == (MemoryStage.VISION, meter.free)


def test_frames_are_prepared_while_another_thread_asks(directory: Path, model: VideoModel) -> None:
    assert isinstance(model, LocalModel)
    features = _encode(model, 1)
    asking, prepared = threading.Event(), threading.Event()
    ask_batch = model._ask_batch

    def waiting(inquiries: Sequence[Any]) -> None:
        asking.set()
        assert prepared.wait(30), "frames wait for the device, or for the tokenizer of the thread that asks"
        ask_batch(inquiries)

    model._ask_batch = waiting  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as threads:
        answers = threads.submit(model.ask, features, [_PROMPTS])
        assert asking.wait(30)
        ready = model._vision.prepare([moving_pattern(seed=1)], [_SEGMENT])
        prepared.set()
        assert len(answers.result()[0]) >= 1
    assert model._vision.encode(ready, model._budget)[0].keys() == {one.name for one in features[0].tensors}


def test_batches_of_several_threads_take_turns_on_the_device(directory: Path) -> None:
    budget = _budget(directory, FakeMeter(free=1 << 40))
    active: list[Sequence[int]] = []
    together: list[int] = []

    def work(items: Sequence[int]) -> None:
        active.append(items)
        together.append(len(active))
        time.sleep(0.01)
        active.pop()

    def run() -> None:
        budget.run(range(4), work, shape_of=_shape, what="testing", most=1)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(run) for _ in range(4)]:
            done.result()
    assert together == [1] * 16
