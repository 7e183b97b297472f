"""What batches may take, and what happens when memory runs out: halves, and a reason when one segment is too much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures.plain_generate import moving_pattern
from transformers.cache_utils import DynamicCache

from nightreel.domain import Prompt, PromptKind, Segment
from nightreel.errors import PermanentError
from nightreel.models.base import VideoModel
from nightreel.models.loading import load_model
from nightreel.models.memory import BatchBudget, SegmentShape, halving
from nightreel.models.packed import PackedPrefix
from nightreel.models.vision import Vision
from nightreel.settings import load_settings

_SEGMENT = Segment(0, 0.0, 4.0)
_PROMPTS = [
    Prompt(name="sure", kind=PromptKind.YES_NO, text="Is it so?", threshold=0.0),
    Prompt(name="why", kind=PromptKind.TEXT, text="Why?", max_new_tokens=6, when=(("sure", "yes"),)),
]


@pytest.fixture(scope="module")
def model(tiny_model: Callable[[str], Path]) -> VideoModel:
    torch.set_num_threads(1)
    return load_model(load_settings(model=str(tiny_model("internvl")), device="cpu"))


def _encode(model: VideoModel, count: int) -> list[Any]:
    batches = [moving_pattern(seed=i) for i in range(count)]
    return model.encode(batches, segments=[_SEGMENT] * count, keys=list(map(str, range(count))))


class _Scarce:
    """Fails as an allocator does while more than `most` segments are worked on at once, after `late` good calls."""

    def __init__(self, work: Callable[..., Any], *, most: int, late: int = 0, error: type[RuntimeError]) -> None:
        self._work, self._most, self._late, self._error = work, most, late, error
        self.sizes: list[int] = []

    def __call__(self, size: int, *arguments: Any, **more: Any) -> Any:
        self.sizes.append(size)
        if size > self._most and len(self.sizes) > self._late:
            raise self._error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte")
        return self._work(*arguments, **more)


@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError])
@pytest.mark.parametrize("late", [0, 1])
def test_questions_that_do_not_fit_together_are_asked_in_halves(
    model: VideoModel, monkeypatch: pytest.MonkeyPatch, error: type[RuntimeError], late: int
) -> None:
    features = _encode(model, 5)
    expected = model.ask(features, [_PROMPTS] * 5)
    scarce = _Scarce(PackedPrefix.ask, most=2, late=late, error=error)
    monkeypatch.setattr(
        PackedPrefix, "ask", lambda self, *given, **more: scarce(len(self.lengths), self, *given, **more)
    )
    answers = model.ask(features, [_PROMPTS] * 5)
    assert [[answer.text for answer in one] for one in answers] == [[answer.text for answer in one] for one in expected]
    assert max(scarce.sizes) == 5
    assert scarce.sizes[-1] <= 2


def test_a_segment_that_does_not_fit_alone_is_a_permanent_error(
    model: VideoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = _encode(model, 2)
    scarce = _Scarce(PackedPrefix.ask, most=0, error=torch.OutOfMemoryError)
    monkeypatch.setattr(
        PackedPrefix, "ask", lambda self, *given, **more: scarce(len(self.lengths), self, *given, **more)
    )
    with pytest.raises(PermanentError, match="use a plan with fewer frames") as caught:
        model.ask(features, [_PROMPTS] * 2)
    assert caught.value.reason == "out_of_memory"


def test_frames_that_do_not_fit_together_are_encoded_in_halves(
    model: VideoModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _encode(model, 3)
    scarce = _Scarce(Vision.process, most=1, error=torch.OutOfMemoryError)
    monkeypatch.setattr(
        Vision, "process", lambda self, batches, segments: scarce(len(batches), self, batches, segments)
    )
    encoded = _encode(model, 3)
    assert [features.key for features in encoded] == [features.key for features in expected]
    assert scarce.sizes == [3, 1, 2, 1, 1]


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    calls: list[Sequence[int]] = []

    def work(items: Sequence[int]) -> None:
        calls.append(items)
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        halving([1, 2, 3], work, what="testing")
    assert calls == [[1, 2, 3]]


@pytest.mark.parametrize("architecture", ["internvl", "qwen2_5_vl", "qwen3_vl", "smolvlm"])
def test_keys_and_values_of_a_token_are_counted_exactly(tiny_model: Callable[[str], Path], architecture: str) -> None:
    from transformers import AutoModelForImageTextToText

    loaded = AutoModelForImageTextToText.from_pretrained(tiny_model(architecture))
    cache = DynamicCache(config=loaded.config.get_text_config())
    with torch.inference_mode():
        loaded.base_model(input_ids=torch.ones(1, 10, dtype=torch.long), past_key_values=cache, use_cache=True)
    held = sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))
    assert BatchBudget(loaded).token_bytes * 10 == held


def test_everything_a_segment_needs_makes_it_larger(tiny_model: Callable[[str], Path]) -> None:
    from transformers import AutoModelForImageTextToText

    budget = BatchBudget(AutoModelForImageTextToText.from_pretrained(tiny_model("internvl")))
    least = budget.segment_bytes(SegmentShape(prefix=100, suffixes=10, generated=10, reads=1))
    for more in ({"prefix": 200}, {"suffixes": 20}, {"generated": 20}, {"reads": 2}):
        shape = SegmentShape(**{"prefix": 100, "suffixes": 10, "generated": 10, "reads": 1, **more})
        assert budget.segment_bytes(shape) > least
