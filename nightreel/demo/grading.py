"""Compare answers with the correct ones.

The demo, the tests and the benchmark call it with rows of `reporting.answers`. It calls no model and no database.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightreel.demo.captions import read_caption, said_of
from nightreel.demo.clips import Clip
from nightreel.demo.questions import NONE, film_truth, truth
from nightreel.demo.scenes import Scene
from nightreel.domain import Level, Prompt, PromptKind

_NOTHING = ("", "no", "0", NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """One answer beside the correct one.

    Args:
        clip: name of the file.
        said: the answer's text; its state if the question was not answered.
        right: whether both state the same facts; the order in which a caption names things does not matter.
    """

    clip: str
    start_s: float
    end_s: float
    scene: Scene
    prompt: Prompt
    said: str
    truth: str
    right: bool

    @property
    def of_nothing(self) -> bool:
        """Whether the question is about something absent: the answer is no, none or 0, or the scene is empty."""
        return self.truth in _NOTHING or not self.scene.things


def grade_answers(
    rows: Iterable[Mapping[str, Any]], clips: Mapping[str, Clip], prompts: Sequence[Prompt]
) -> list[Grade]:
    """Grade each row.

    Args:
        rows: from `reporting.answers`: uri, start_s, end_s, prompt_set, prompt, state, answer.
        clips: by file name, the last part of the uri.
        prompts: the prompts that were asked.

    Rows of other files and prompts are skipped.
    """
    asked = {(prompt.set_name, prompt.name): prompt for prompt in prompts}
    grades = []
    for row in rows:
        prompt = asked.get((row["prompt_set"], row["prompt"]))
        name = row["uri"].rsplit("/", 1)[-1]
        if prompt is None or name not in clips:
            continue
        scene = clips[name].scene_in(row["start_s"], row["end_s"])
        answered = row["state"] == "answered"
        said = (row["answer"] or "") if answered else row["state"]
        true = truth(prompt, scene)
        grades.append(
            Grade(
                clip=name,
                start_s=row["start_s"],
                end_s=row["end_s"],
                scene=scene,
                prompt=prompt,
                said=said,
                truth=", ".join(true) if isinstance(true, list) else true,
                right=answered and is_right(prompt, said, scene),
            )
        )
    return grades


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmGrade:
    """One answer about a whole video beside the correct one; the fields are those of `Grade`."""

    clip: str
    prompt: Prompt
    said: str
    truth: str
    right: bool


def grade_films(
    rows: Iterable[Mapping[str, Any]], clips: Mapping[str, Clip], prompts: Sequence[Prompt]
) -> list[FilmGrade]:
    """Grade answers about whole videos, from rows of `reporting.video_answers`; others are skipped."""
    asked = {(one.set_name, one.name): one for one in prompts if one.question.level is Level.VIDEO}
    grades = []
    for row in rows:
        prompt, name = asked.get((row["prompt_set"], row["prompt"])), row["uri"].rsplit("/", 1)[-1]
        if prompt is None or name not in clips:
            continue
        true = film_truth(prompt, [part.scene for part in clips[name].parts])
        answered = row["state"] == "answered"
        said = (row["answer"] or "") if answered else row["state"]
        right = {*filter(None, said.split(", "))} == {*true} if isinstance(true, list) else said == true
        shown = ", ".join(true) if isinstance(true, list) else true
        grades.append(FilmGrade(clip=name, prompt=prompt, said=said, truth=shown, right=answered and right))
    return grades


def is_right(prompt: Prompt, said: str, scene: Scene) -> bool:
    """Whether an answer's text is correct for a scene."""
    true = truth(prompt, scene)
    if prompt.question.kind is PromptKind.CAPTION:
        return read_caption(said) == said_of(scene)
    if isinstance(true, list):
        return {*filter(None, said.split(", "))} == {*true}
    if prompt.question.kind is PromptKind.OBJECT:
        return _unordered(said) == _unordered(true)
    return said == true


def _unordered(text: str) -> dict[str, Any]:
    """An object whose lists may be in any order, as the things of a caption."""
    return {name: sorted(value) if isinstance(value, list) else value for name, value in json.loads(text).items()}


def share_right(grades: Sequence[Grade | FilmGrade]) -> float:
    """The share of correct answers, from 0 to 1; 1 if there are no grades."""
    return sum(grade.right for grade in grades) / len(grades) if grades else 1.0
