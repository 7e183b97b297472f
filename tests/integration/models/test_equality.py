"""Our path gives the answers of the plain path: each test runs both, on each tiny architecture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from fixtures.judged import p_of
from fixtures.plain_generate import PlainModel, moving_pattern
from fixtures.tiny_models import ARCHITECTURES

from nightreel.cache.parquet import from_parquet, to_parquet
from nightreel.domain import Features, FrameBatch, Prompt, PromptKind, Segment
from nightreel.models.base import VideoModel
from nightreel.models.loading import load_model
from nightreel.prompts.wording import texts_of
from nightreel.settings import load_settings

_QUESTIONS = (
    Prompt.of(name="caption", kind=PromptKind.CAPTION, text="Describe the video.", max_new_tokens=20),
    Prompt.of(name="violence", kind=PromptKind.YES_NO, text="Is anyone hurt in this video, or about to be hurt?"),
    Prompt.of(
        name="count", kind=PromptKind.TEXT, text="How many shapes are there in the whole video?", max_new_tokens=9
    ),
    Prompt.of(name="red", kind=PromptKind.YES_NO, text="Red?"),
    Prompt.of(name="colour", kind=PromptKind.TEXT, text="What colour is the square?", max_new_tokens=20),
    Prompt.of(name="short", kind=PromptKind.TEXT, text="Why?", max_new_tokens=5),
    Prompt.of(name="night", kind=PromptKind.YES_NO, text="Is it night?"),
    Prompt.of(name="long", kind=PromptKind.CAPTION, text="Say what moves, where to and how fast.", max_new_tokens=20),
)
_SEGMENTS = (Segment(0, 0.0, 4.0), Segment(1, 4.0, 8.0), Segment(2, 8.0, 13.0))


@dataclass
class Pair:
    """One tiny model, loaded by our path and by the plain path, and three segments; the last has more frames."""

    ours: VideoModel
    plain: PlainModel
    batches: tuple[FrameBatch, ...]

    def encode(self, indices: range) -> list[Features]:
        return self.ours.encode(
            [self.batches[i] for i in indices],
            segments=[_SEGMENTS[i] for i in indices],
            keys=[f"key-{i}" for i in indices],
        )

    def assert_equal(self, features: list[Features], prompts: tuple[Prompt, ...]) -> None:
        """Compare our batched answers with those of the plain path, prompt by prompt."""
        answers = self.ours.ask(features, [prompts] * len(features))
        for index, own in enumerate(answers):
            assert [answer.question_hash for answer in own] == [prompt.question.hash for prompt in prompts]
            for prompt, answer in zip(prompts, own, strict=True):
                (text,) = texts_of(prompt.question)
                where = self.batches[index], _SEGMENTS[index], text
                if prompt.question.kind is PromptKind.YES_NO:
                    assert p_of(answer) == pytest.approx(self.plain.p_yes(*where), abs=1e-5), (index, prompt.name)
                else:
                    tokens = self.plain.generate(*where, prompt.question.max_new_tokens)
                    text = self.plain.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
                    assert answer.text == text, (index, prompt.name)
                    assert answer.generated_tokens == len(tokens)
                inputs = self.plain.inputs(*where)
                assert answer.prompt_tokens == inputs["input_ids"].shape[1]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def pair(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]) -> Pair:
    torch.set_num_threads(1)
    directory = tiny_model(request.param)
    return Pair(
        load_model(load_settings(model=str(directory), device="cpu")),
        PlainModel(directory),
        (
            moving_pattern(),
            moving_pattern(seed=1, start_s=4.0),
            moving_pattern(seed=2, start_s=8.0, frames=12, step_s=0.4),
        ),
    )


@pytest.mark.parametrize("count", [1, 3, 8])
def test_answers_for_one_segment_equal_those_of_plain_generate(pair: Pair, count: int) -> None:
    pair.assert_equal(pair.encode(range(1)), _QUESTIONS[:count])


def test_answers_for_segments_of_different_lengths_equal_those_of_plain_generate(pair: Pair) -> None:
    pair.assert_equal(pair.encode(range(3)), _QUESTIONS[:3])


def test_answers_from_stored_features_equal_those_of_plain_generate(pair: Pair) -> None:
    features = pair.encode(range(3))
    stored = [from_parquet(to_parquet(one), key=one.key) for one in features]
    assert stored == features
    pair.assert_equal(stored, _QUESTIONS[:3])
    pair.assert_equal(stored[:1], _QUESTIONS[3:5])


def test_answers_depend_on_the_video(pair: Pair) -> None:
    scored = [prompt for prompt in _QUESTIONS if prompt.question.kind.scored]
    first, second, _ = pair.ours.ask(pair.encode(range(3)), [scored] * 3)
    differences = [abs((p_of(one) or 0) - (p_of(other) or 0)) for one, other in zip(first, second, strict=True)]
    assert max(differences) > 1e-3  # a hundred times the tolerance of equality
