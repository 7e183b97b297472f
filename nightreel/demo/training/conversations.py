"""Questions and answers as tokens, many to a scene: [video | question answer | question answer | ...].

No question sees another, and each counts its positions on from the video, so that it is trained as it will be asked:
alone. Called by the stages that train the language side.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import torch

from nightreel.demo.questions import Question, catalogue
from nightreel.demo.scenes import Scene
from nightreel.demo.training.architecture import END, FRAME_PX, build_processor

IGNORED = -100
CAPTION_WEIGHT = 0.4
"""Of a token of a sentence, beside 1 of an answer in a word: sentences have many, and most are easy."""

# How often each family is asked about a scene, on average.
_TIMES = {
    "caption": 1.0,
    "explanation": 0.35,
    "count": 0.5,
    "count_some": 1.0,
    "background": 0.35,
    "background_is": 0.3,
    "motion": 1.0,
    "moving": 0.5,
    "colour": 1.0,
    "shape": 1.0,
    "warning": 0.6,
    "any": 0.2,
    "is_there": 0.8,
    "is_any": 0.8,
    "is_there_both": 2.0,
}
_MOST_TOKENS = 208
"""Of a scene: what was drawn beyond is left out, so that few rows need much padding."""
_SENTENCES = ("caption", "explanation")


@dataclass(frozen=True, slots=True)
class Packed:
    """The questions and answers of N scenes, padded to L tokens each.

    Args:
        tokens, positions: int64 (N, L).
        labels: int64 (N, L), IGNORED for all but answers.
        group: int64 (N, L), which question a token belongs to, -1 for padding.
        weights: float32 (N, L), of the loss of each label.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    group: torch.Tensor
    weights: torch.Tensor


def pack(scenes: Sequence[Scene], *, frames: int, dice: random.Random) -> Packed:
    """Draw questions for each scene and pack them, as after a video of so many frames."""
    start = len(video_ids(frames))
    rows = [_row(scene, start, dice) for scene in scenes]
    length = max(len(row) for row in rows)
    padding = (0, 0, IGNORED, -1, 0.0)
    table = np.array([row + [padding] * (length - len(row)) for row in rows])  # (N, L, 5)
    whole = torch.from_numpy(table[..., :4].astype(np.int64)).unbind(-1)
    tokens, positions, labels, group = (one.contiguous() for one in whole)
    return Packed(tokens, positions, labels, group, torch.from_numpy(table[..., 4].astype(np.float32)))


@cache
def video_ids(frames: int) -> torch.Tensor:
    """Tokens (P,) of a conversation up to the end of its video, as the processor makes them."""
    empty = np.zeros((frames, FRAME_PX, FRAME_PX, 3), np.uint8)
    made: Any = _processor()(text=["<|im_start|>user\n<video>\n"], videos=[empty], return_tensors="pt")
    ids: torch.Tensor = made["input_ids"][0]
    return ids


def draw_questions(scene: Scene, dice: random.Random) -> list[tuple[Question, str]]:
    """Questions about a scene, each with its answer: within a family, every answer that is right somewhere is as
    frequent as the others, and near misses more frequent than far ones."""
    drawn = []
    for family, times in _TIMES.items():
        by_answer: dict[str, list[Question]] = {}
        for question in _families()[family]:
            by_answer.setdefault(question.answer(scene), []).append(question)
        for _ in range(int(times) + (dice.random() < times % 1)):
            answer = dice.choice(sorted(by_answer))
            questions = by_answer[answer]
            near = [1 + 3 * sum(word in question.text for word in _words(scene)) for question in questions]
            drawn.append((dice.choices(questions, near)[0], answer))
    dice.shuffle(drawn)
    return drawn


def _words(scene: Scene) -> list[str]:
    return [word for thing in scene.things for word in (thing.colour, thing.shape)]


def _row(scene: Scene, start: int, dice: random.Random) -> list[tuple[int, int, int, int, float]]:
    row: list[tuple[int, int, int, int, float]] = []
    for number, (question, answer) in enumerate(draw_questions(scene, dice)):
        asked, said = _ids(f"{question.text}{END}\n<|im_start|>assistant\n"), _ids(f"{answer}{END}")
        if len(row) + len(asked) + len(said) > _MOST_TOKENS:
            break
        labels = (IGNORED,) * len(asked) + said
        weight = CAPTION_WEIGHT if question.family in _SENTENCES else 1.0
        row += [
            (token, start + place, label, number, weight)
            for place, (token, label) in enumerate(zip(asked + said, labels, strict=True))
        ]
    return row


@cache
def _families() -> dict[str, list[Question]]:
    questions = sorted(catalogue().values(), key=lambda question: question.family)
    families = {family: list(group) for family, group in groupby(questions, key=lambda question: question.family)}
    assert families.keys() == _TIMES.keys(), f"{families.keys() ^ _TIMES.keys()}"
    return families


@cache
def _ids(text: str) -> tuple[int, ...]:
    return tuple(_processor().tokenizer(text, add_special_tokens=False).input_ids)


@cache
def _processor() -> Any:
    return build_processor()
