"""Decode steps of equal shapes: texts are those of plain generate() however they are read, narrowed or replayed."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from fixtures.plain_generate import PlainModel, moving_pattern
from fixtures.recorded_steps import FROM_THE_HOST, READS, Operations, Step, record
from fixtures.tiny_models import ARCHITECTURES

from nightreel.domain import Features, FrameBatch, GenerationOptions, Prompt, PromptKind, Segment
from nightreel.models.inprocess import copies, packed, steps
from nightreel.models.inprocess.buffers import BufferCache
from nightreel.models.inprocess.generation import Pace, pace_of
from nightreel.models.inprocess.graphs import Capture, Graphs
from nightreel.models.inprocess.local import LocalModel
from nightreel.models.inprocess.packed import PackedPrefix
from nightreel.models.inprocess.prefix import Row, is_plain
from nightreel.models.inprocess.rows import shape_of
from nightreel.models.loading import load_model
from nightreel.settings import load_settings

_SEGMENTS = (Segment(0, 0.0, 4.0), Segment(1, 4.0, 8.0), Segment(2, 8.0, 13.0))
_BATCHES = (
    moving_pattern(),
    moving_pattern(seed=1, start_s=4.0),
    moving_pattern(seed=2, start_s=8.0, frames=12, step_s=0.4),
)
_TEXTS = ("Describe the video.", "How many shapes are there?", "What colour is the square?", "Why?")
_LENGTHS = (26, 9, 20, 5)
_PACKED = [name for name in ARCHITECTURES if name not in ("internvl_sliding", "qwen3_5")]
_PACES = {
    "cpu": Pace(1, 32, halves=False),
    "3": Pace(3, 4, halves=False),
    "gpu": Pace(8, 128, halves=True),
    "8 with little room": Pace(8, 2, halves=True),
}


def _prompt(text: str, length: int, **decoding: float) -> Prompt:
    return Prompt.of(
        name=f"{text} {decoding}", kind=PromptKind.TEXT, text=text, max_new_tokens=length,
        decoding=GenerationOptions(**decoding),
    )  # fmt: skip


_QUESTIONS = tuple(map(_prompt, _TEXTS, _LENGTHS))


@dataclass
class Setup:
    """A tiny model with an end token that texts have, and what plain generate() writes with it."""

    model: LocalModel
    features: list[Features]
    expected: list[list[str]]

    def ask(self, *prompts: Prompt) -> list[list[str | None]]:
        asked = prompts or _QUESTIONS
        return [[answer.text for answer in own] for own in self.model.ask(self.features, [asked] * len(self.features))]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def setup(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]) -> Setup:
    return _setup(tiny_model(request.param))


@pytest.fixture(scope="module", params=_PACKED)
def packing(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]) -> Setup:
    return _setup(tiny_model(request.param))


@pytest.fixture
def internvl(tiny_model: Callable[[str], Path]) -> Setup:
    return _setup(tiny_model("internvl"))


def _setup(directory: Path) -> Setup:
    torch.set_num_threads(1)
    model = load_model(load_settings(model=str(directory), device="cpu"))
    assert isinstance(model, LocalModel)
    plain = PlainModel(directory)
    end = plain.generate(_BATCHES[0], _SEGMENTS[0], _TEXTS[0], 12)[-1]
    model._end_ids |= {end}

    def written(batch: FrameBatch, segment: Segment, text: str, length: int) -> str:
        tokens = plain.generate(batch, segment, text, length, eos_token_id=sorted(model._end_ids))
        kept = tokens[:-1] if tokens[-1] in model._end_ids else tokens
        return plain.processor.tokenizer.decode(kept, skip_special_tokens=True).strip()

    expected = [
        [written(batch, segment, text, length) for text, length in zip(_TEXTS, _LENGTHS, strict=True)]
        for batch, segment in zip(_BATCHES, _SEGMENTS, strict=True)
    ]
    features = model.encode(_BATCHES, segments=_SEGMENTS, keys=["a", "b", "c"])
    return Setup(model, features, expected)


def _force(monkeypatch: pytest.MonkeyPatch, pace: Pace) -> None:
    for module in (packed, copies):
        monkeypatch.setattr(module, "pace_of", lambda _: pace)


@pytest.mark.parametrize("pace", _PACES.values(), ids=_PACES)
def test_texts_are_those_of_generate_however_many_tokens_are_read_together(
    setup: Setup, pace: Pace, monkeypatch: pytest.MonkeyPatch
) -> None:
    _force(monkeypatch, pace)
    assert setup.ask() == setup.expected


@pytest.mark.parametrize("pace", ["gpu", "8 with little room"])
def test_texts_are_those_of_generate_when_steps_are_replayed(
    packing: Setup, pace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _force(monkeypatch, _PACES[pace])
    monkeypatch.setattr(steps, "_WORTH_A_GRAPH", 3)
    replays = []

    def capture(step: Step) -> Step:
        replay = record(step)

        def counted() -> torch.Tensor:
            replays.append(step)
            return replay()

        return counted

    _capturing(packing.model, capture, monkeypatch)
    assert packing.ask() == packing.expected
    assert len(replays) > 3


def test_texts_that_need_the_host_are_the_same_beside_others(packing: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [
        _prompt(_TEXTS[0], 26),
        _prompt(_TEXTS[1], 20, temperature=1.5),
        _prompt(_TEXTS[2], 26, repetition_penalty=3.0),
    ]
    alone = [[own[0] for own in packing.ask(one)] for one in asked]
    _force(monkeypatch, _PACES["gpu"])
    assert packing.ask(*asked) == [list(own) for own in zip(*alone, strict=True)]


def _capturing(model: LocalModel, capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "_graphs", Graphs(capture))


def _refused(_: Step) -> Step:
    raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")


def _frozen(step: Step) -> Step:
    """A graph that always gives the logits of the step that was captured."""
    logits = step().clone()
    return lambda: logits


def _broken(_: Step) -> Step:
    return lambda: _refused(_)()


@pytest.mark.parametrize(
    ("capture", "said"),
    [
        (_refused, "a capture failed: CUDA error: operation not permitted when stream is capturing"),
        (_frozen, "a replay gave other logits"),
        (_broken, "a replay failed: CUDA error: operation not permitted when stream is capturing"),
    ],
)
def test_a_graph_that_fails_leads_to_computed_steps_and_one_line_in_the_log(
    internvl: Setup,
    capture: Capture,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _force(monkeypatch, _PACES["gpu"])
    _capturing(internvl.model, capture, monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert internvl.ask() == internvl.ask() == internvl.expected
    (line,) = (record for record in caplog.records if record.name == "nightreel.models.inprocess.graphs")
    assert said in line.getMessage()


def test_exhausted_memory_in_a_capture_makes_the_batch_smaller(
    internvl: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def capture(step: Step) -> Step:
        sizes.append(len(step()))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("out of memory")
        return record(step)

    _capturing(internvl.model, capture, monkeypatch)
    assert internvl.ask() == internvl.expected
    assert set(sizes) == {3, 1}


def _operations(setup: Setup, length: int) -> Operations:
    """Of texts of this length, that end there."""
    with Operations() as operations:
        setup.ask(*(_prompt(text, length) for text in _TEXTS[:3]))
    return operations


def _per_step(setup: Setup) -> dict[str, float]:
    few, many = _operations(setup, 4).counts, _operations(setup, 20).counts
    return {name: (many[name] - few[name]) / 16 for name in many} | {"all": (many.total() - few.total()) / 16}


def test_a_step_takes_nothing_from_the_host_and_dispatches_few_operations(
    internvl: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    internvl.model._end_ids = frozenset()
    counted = _per_step(internvl)
    assert counted["all"] <= 230, "243 when each step makes a mask and its tokens"
    assert not counted.get(FROM_THE_HOST)
    assert not counted.get(READS)


@pytest.mark.parametrize(("pace", "most"), [("cpu", 20), ("3", 7), ("gpu", 3)])
def test_tokens_are_read_once_for_several_steps(
    packing: Setup, pace: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _force(monkeypatch, _PACES[pace])
    reads = 0
    tolist = torch.Tensor.tolist

    def counted(tensor: torch.Tensor) -> object:
        nonlocal reads
        reads += tensor.dtype == torch.long and tensor.ndim == 2
        return tolist(tensor)

    monkeypatch.setattr(torch.Tensor, "tolist", counted)
    packing.ask(*(_prompt(text, 20) for text in _TEXTS[:3]))
    assert 1 <= reads <= most


def test_all_tensors_of_a_step_keep_their_shapes_and_places(packing: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_plain(packing.model._model)
    _force(monkeypatch, _PACES["gpu"])
    seen = []
    logits_at = steps.logits_at

    def noted(model, read, ids, positions, mask, cache):
        buffers = [tensor for layer in cache._buffers for tensor in (layer._keys, layer._values, layer._slots)]
        seen.append(tuple((one.shape, one.data_ptr()) for one in (ids, positions, mask, *buffers)))
        return logits_at(model, read, ids, positions, mask, cache)

    monkeypatch.setattr(steps, "logits_at", noted)
    monkeypatch.setattr(packing.model, "_end_ids", frozenset())
    packing.ask(*(_prompt(text, 20) for text in _TEXTS[:3]))
    assert len(seen) == 19
    assert len(set(seen)) == 1


@pytest.mark.parametrize("capture", [None, record], ids=["computed", "replayed"])
def test_the_cache_of_a_batch_is_free_when_its_texts_are_written(
    internvl: Setup, capture: Capture | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = []
    monkeypatch.setattr(internvl.model, "_graphs", Graphs(capture))
    monkeypatch.setattr(
        packed, "BufferCache", lambda *given: [cache := BufferCache(*given), caches.append(weakref.ref(cache))][0]
    )
    gc.disable()
    try:
        internvl.ask()
        assert [cache() for cache in caches] == [None]
    finally:
        gc.enable()


@torch.inference_mode()
def test_what_an_earlier_text_left_in_the_cache_is_not_read(internvl: Setup) -> None:
    model = internvl.model
    prefix = model._prefilled([model._read(one) for one in internvl.features])
    assert isinstance(prefix, PackedPrefix)
    rows = [Row(segment, (5, 6, 7), max_new_tokens=20) for segment in range(3)]
    expected = [scores.generated for scores in prefix.ask(rows, end_ids=frozenset())]
    for layer in prefix._cache._buffers:
        for tensor in (layer._keys, layer._values):
            tensor[:, :, prefix._longest :] = torch.nan
    assert [scores.generated for scores in prefix.ask(rows, end_ids=frozenset())] == expected
    assert all(len(text) == 20 for text in expected)


def test_columns_of_texts_of_different_lengths_are_counted_as_long_as_the_longest() -> None:
    rows = [Row(0, (1, 2), max_new_tokens=length) for length in (96, 512, 0)]
    assert shape_of(rows, prefix=10, plain=True).generated == 2 * 512
    assert shape_of(rows, prefix=10, plain=False).generated == 96 + 512


def test_the_pace_depends_on_the_device() -> None:
    assert pace_of(torch.device("cpu")).tokens_per_sync == 1
    assert pace_of(torch.device("cuda:1")).tokens_per_sync == 8
