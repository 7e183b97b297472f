"""How many forward passes of the language side questions take. Their answers are compared in test_equality."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures.plain_generate import moving_pattern

from nightreel.domain import Answer, Prompt, PromptKind, Segment
from nightreel.models.inprocess import prefix
from nightreel.models.inprocess.local import LocalModel
from nightreel.models.loading import load_model
from nightreel.settings import load_settings

_SEGMENTS = [Segment(index, 4.0 * index, 4.0 * index + 4) for index in range(4)]
_TEXTS = ("Describe the video.", "How many shapes are there in the whole video?", "What colour is the square?")
_YES_NO = ("Is anyone hurt in this video, or about to be hurt?", "Red?", "Is it night?", "Is it a game?")
_QUESTIONS = (
    *(Prompt.of(name=text, kind=PromptKind.TEXT, text=text, max_new_tokens=9) for text in _TEXTS),
    *(Prompt.of(name=text, kind=PromptKind.YES_NO, text=text) for text in _YES_NO),
    Prompt.of(name="where", kind=PromptKind.CHOICE, text="Where is it?", choices=("in", "outside", "up")),
)


@contextmanager
def _counted(model: Any) -> Iterator[list[int]]:
    """The number of sequences in each forward pass of the language side."""
    sizes: list[int] = []

    def note(_: Any, __: Any, given: dict[str, Any]) -> None:
        sizes.append(given["inputs_embeds"].shape[0])

    handle = model.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    yield sizes
    handle.remove()


def _load(directory: Path) -> LocalModel:
    torch.set_num_threads(1)
    model = load_model(load_settings(model=str(directory), device="cpu"))
    assert isinstance(model, LocalModel)
    return model


def _asked(model: LocalModel) -> tuple[list[list[Answer]], list[int]]:
    batches = [moving_pattern(seed=segment.index, start_s=segment.start_s) for segment in _SEGMENTS]
    features = model.encode(batches, segments=_SEGMENTS, keys=[str(segment.index) for segment in _SEGMENTS])
    with _counted(model._model) as sizes:
        answers = model.ask(features, [_QUESTIONS] * len(_SEGMENTS))
    return answers, sizes


@pytest.mark.parametrize("architecture", ["internvl", "qwen3_vl"])
def test_a_packed_batch_takes_a_pass_for_prefixes_one_for_questions_and_one_for_each_token(
    tiny_model: Callable[[str], Path], architecture: str
) -> None:
    answers, sizes = _asked(_load(tiny_model(architecture)))
    prefixes = len({answer.prompt_tokens for own in answers for answer in own[:1]})  # one pass for each length
    assert len(sizes) <= prefixes + 1 + 8


def test_a_hybrid_batch_also_takes_only_one_pass_for_each_length_of_a_question(
    tiny_model: Callable[[str], Path],
) -> None:
    answers, sizes = _asked(_load(tiny_model("qwen3_5")))
    prefixes = len({answer.prompt_tokens for own in answers for answer in own[:1]})
    lengths = len(_QUESTIONS) + 4  # the choices have two lengths, with and without a space before them
    assert len(sizes) <= prefixes + lengths + 8
    texts = len(_TEXTS) * len(_SEGMENTS)
    assert texts in sizes, "texts of all segments and lengths are generated in one batch"


def test_long_prefixes_are_prefilled_one_after_the_other(
    tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _load(tiny_model("internvl"))
    together, sizes = _asked(model)
    assert sizes[0] == len(_SEGMENTS)
    monkeypatch.setattr(prefix, "PREFILL_TOKENS", 1)
    apart, sizes = _asked(model)
    assert sizes[:5] == [1, 1, 1, 1, len(_SEGMENTS)]
    assert [[a.text for a in own] for own in apart] == [[a.text for a in own] for own in together]
