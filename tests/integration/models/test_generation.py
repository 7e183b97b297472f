"""Generation beyond greedy: penalties and beams match generate(); a draw depends only on its seed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from fixtures.plain_generate import PlainModel, moving_pattern

from nightreel.domain import Features, GenerationOptions, Prompt, PromptKind, Question, Segment
from nightreel.models.base import VideoModel
from nightreel.models.inprocess.generation import generate
from nightreel.models.inprocess.prefix import Row
from nightreel.models.loading import load_model
from nightreel.settings import load_settings

_SEGMENT = Segment(0, 0.0, 4.0)
_QUESTION = Question(kind=PromptKind.TEXT, text="Describe the video at length.", max_new_tokens=16)


@dataclass
class Setup:
    model: VideoModel
    plain: PlainModel
    features: Features

    def ask(self, *decodings: GenerationOptions) -> list[str | None]:
        """The texts for one question, asked with several decodings together."""
        prompts = [Prompt(name=str(way), question=replace(_QUESTION, decoding=way)) for way in decodings]
        (answers,) = self.model.ask([self.features], [prompts])
        texts = {answer.question_hash: answer.text for answer in answers}
        return [texts[prompt.question.hash] for prompt in prompts]

    def generate(self, **options: object) -> str:
        tokens = self.plain.generate(moving_pattern(), _SEGMENT, _QUESTION.text, _QUESTION.max_new_tokens, **options)
        return self.plain.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()


@pytest.fixture(scope="module", params=["internvl", "qwen2_5_vl", "qwen3_5"])
def setup(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]) -> Setup:
    """One model of each kind: packed, packed with M-RoPE, copies of a state."""
    torch.set_num_threads(1)
    directory = tiny_model(request.param)
    model = load_model(load_settings(model=str(directory), device="cpu"))
    (features,) = model.encode([moving_pattern()], segments=[_SEGMENT], keys=["k"])
    return Setup(model, PlainModel(directory), features)


def test_penalties_and_beams_asked_together_match_generate(setup: Setup) -> None:
    texts = setup.ask(
        GenerationOptions(),
        GenerationOptions(repetition_penalty=1.5),
        GenerationOptions(beams=3),
        GenerationOptions(beams=2, repetition_penalty=1.3),
    )
    assert texts == [
        setup.generate(),
        setup.generate(repetition_penalty=1.5),
        setup.generate(num_beams=3),
        setup.generate(num_beams=2, repetition_penalty=1.3),
    ]
    assert len(set(texts)) > 1


def test_a_draw_depends_on_its_seed_and_not_on_its_batch(setup: Setup) -> None:
    first, second = GenerationOptions(temperature=1.5, seed=1), GenerationOptions(temperature=1.5, seed=2)
    alone = setup.ask(first)
    together = setup.ask(GenerationOptions(), second, first, GenerationOptions(repetition_penalty=2.0))
    assert together[2] == alone[0]
    assert together[1] != together[2]
    assert together[0] == setup.generate()


@pytest.mark.parametrize(
    "decoding",
    [
        GenerationOptions(temperature=1.0, top_k=1),
        GenerationOptions(temperature=1.0, top_p=1e-6),
        GenerationOptions(temperature=1e-4),
    ],
)
def test_a_draw_from_only_the_likeliest_token_is_greedy(setup: Setup, decoding: GenerationOptions) -> None:
    assert setup.ask(decoding) == [setup.generate()]


def test_only_sampled_questions_are_marked_as_sampled() -> None:
    assert not _QUESTION.sampled
    assert replace(_QUESTION, decoding=GenerationOptions(temperature=0.5)).sampled
    assert not replace(_QUESTION, decoding=GenerationOptions(beams=2)).sampled


def test_each_decoding_makes_another_question() -> None:
    ways = [
        GenerationOptions(),
        GenerationOptions(temperature=1.0),
        GenerationOptions(temperature=1.0, seed=1),
        GenerationOptions(beams=2),
    ]
    assert len({replace(_QUESTION, decoding=way).hash for way in ways}) == len(ways)


@pytest.mark.parametrize("tokens_per_sync", [1, 8])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_text_whose_scores_stop_being_finite_is_empty_and_others_continue(
    temperature: float, tokens_per_sync: int
) -> None:
    rows = [Row(0, (1,), max_new_tokens=3, decoding=GenerationOptions(temperature=temperature)) for _ in range(2)]
    good = torch.tensor([-50.0, 50.0, -50.0])
    broken = torch.full((3,), torch.nan)

    class Decoder:
        lines: ClassVar[list[int | None]] = [0, 1]
        logits = torch.stack([good, good])

        def feed(self, _: torch.Tensor, __: Collection[int]) -> None:
            self.logits = torch.stack([broken, good])

    texts = generate(rows, Decoder(), [torch.tensor([0])], end_ids=frozenset({2}), tokens_per_sync=tokens_per_sync)
    assert texts == {0: ((), False), 1: ((1, 1, 1), False)}
