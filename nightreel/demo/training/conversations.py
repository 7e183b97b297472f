"""Pack many questions and answers of a scene as tokens: [video | question answer | question answer | ...].

No question sees another, and the positions of each continue from the video. So each is trained as it will be asked:
alone. The stages that train the language side call it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import torch

from nightreel.demo.captions import caption
from nightreel.demo.questions import LATER_FAMILIES, Question, catalogue, film_catalogue
from nightreel.demo.scenes import Scene
from nightreel.demo.training.architecture import END, FRAME_PX, build_processor
from nightreel.domain import Note
from nightreel.domain.notes import joined, quoted
from nightreel.prompts.wording import before_question

IGNORED = -100
CAPTION_WEIGHT = 0.4
"""Loss weight of a token in a sentence; one-word answers weigh 1. Sentences have many tokens, most of them easy."""

EARLY = {
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
"""Mean number of questions of each family per scene."""
LATER = {"keywords": 1.0, "object": 1.0}
"""The same of the families that stage D adds."""
_MOST_TOKENS = 208
"""Most tokens of a scene's questions. Further questions are dropped, so that few rows need much padding."""
_SENTENCES = ("caption", "explanation", *LATER_FAMILIES)


@dataclass(frozen=True, slots=True)
class Packed:
    """The questions and answers of N scenes, padded to L tokens each.

    Args:
        tokens, positions: int64 (N, L).
        labels: int64 (N, L), IGNORED except for answers.
        group: int64 (N, L), the question a token belongs to, -1 for padding.
        weights: float32 (N, L), the loss weight of each label.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    group: torch.Tensor
    weights: torch.Tensor


def pack(scenes: Sequence[Scene], *, frames: int, dice: random.Random, families: Mapping[str, float] = EARLY) -> Packed:
    """Draw questions for each scene and pack them as if after a video of `frames` frames.

    Args:
        families: how often each is drawn.
    """
    start = len(video_ids(frames))
    return _table([_row(scene, start, dice, families) for scene in scenes])


def pack_films(films: Sequence[Sequence[Scene]], *, dice: random.Random) -> Packed:
    """Pack one question about each whole video, given by its scenes, after notes that hold their captions."""
    return _table([_film_row(scenes, dice) for scenes in films])


def _table(rows: Sequence[Sequence[tuple[int, int, int, int, float]]]) -> Packed:
    length = max(len(row) for row in rows)
    padding = (0, 0, IGNORED, -1, 0.0)
    table = np.array([[*row, *[padding] * (length - len(row))] for row in rows])  # (N, L, 5)
    whole = torch.from_numpy(table[..., :4].astype(np.int64)).unbind(-1)
    tokens, positions, labels, group = (one.contiguous() for one in whole)
    return Packed(tokens, positions, labels, group, torch.from_numpy(table[..., 4].astype(np.float32)))


@cache
def video_ids(frames: int) -> torch.Tensor:
    """Tokens (P,) of a conversation up to the end of its video, made by the processor."""
    empty = np.zeros((frames, FRAME_PX, FRAME_PX, 3), np.uint8)
    made: Any = _processor()(text=["<|im_start|>user\n<video>\n"], videos=[empty], return_tensors="pt")
    ids: torch.Tensor = made["input_ids"][0]
    return ids


def draw_questions(
    scene: Scene, dice: random.Random, families: Mapping[str, float] = EARLY
) -> list[tuple[Question, str]]:
    """Draw questions about a scene, each with its answer.

    Within a family, every answer that is correct for some question is equally frequent. Questions that share words
    with the scene are more frequent than others.
    """
    drawn = []
    for family, times in families.items():
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


def _film_row(scenes: Sequence[Scene], dice: random.Random) -> list[tuple[int, int, int, int, float]]:
    notes, start_s = [], 0.0
    for scene in scenes:
        end_s = start_s + dice.choice((dice.uniform(4, 8), 10.0, 30.0))
        notes.append(Note(start_s, end_s, (quoted(caption(scene)),)))
        start_s = end_s
    question = dice.choice([*film_catalogue().values()])
    asked = _ids(f"<|im_start|>user\n{before_question(joined(notes))}{question.text}{END}\n<|im_start|>assistant\n")
    said = _ids(f"{question.answer(scenes)}{END}")
    labels = (IGNORED,) * len(asked) + said
    return [
        (token, place, label, 0, 1.0) for place, (token, label) in enumerate(zip(asked + said, labels, strict=True))
    ]


def _row(
    scene: Scene, start: int, dice: random.Random, families: Mapping[str, float]
) -> list[tuple[int, int, int, int, float]]:
    row: list[tuple[int, int, int, int, float]] = []
    for number, (question, answer) in enumerate(draw_questions(scene, dice, families)):
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
    known = EARLY.keys() | LATER.keys()
    assert families.keys() == known, f"{families.keys() ^ known}"
    return families


@cache
def _ids(text: str) -> tuple[int, ...]:
    return tuple(_processor().tokenizer(text, add_special_tokens=False).input_ids)


@cache
def _processor() -> Any:
    return build_processor()
