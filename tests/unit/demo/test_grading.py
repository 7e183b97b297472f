"""Grading compares answers with the correct ones."""

from __future__ import annotations

import numpy as np
import pytest

from nightreel.demo.clips import Clip
from nightreel.demo.grading import grade_answers, share_right
from nightreel.demo.poster import Panel, draw_poster
from nightreel.demo.scenes import Scene, Thing
from nightreel.prompts.loading import load_prompt_sets

PROMPTS = load_prompt_sets(("demo",)).prompts
TWO = Scene((Thing("circle", "red", 0.3, 0.5, 0.1), Thing("star", "blue", 0.7, 0.5, 0.1)), "black", "up")
EMPTY = Scene((), "white", "none")
CLIPS = {"a.mp4": Clip.of((TWO, 4.0), (EMPTY, 4.0))}


def row(prompt: str, answer: str, *, start_s: float = 0.0, state: str = "answered") -> dict:
    return {
        "uri": "file:///videos/a.mp4", "start_s": start_s, "end_s": start_s + 4, "prompt_set": "demo",
        "prompt": prompt, "state": state, "answer": answer,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "right"),
    [
        (row("scene", "a blue star and a red circle move up on a black background."), True),
        (row("scene", "a blue circle and a red star move up on a black background."), False),
        (row("colours", "blue, red"), True),
        (row("colours", "blue"), False),
        (row("colours", "", start_s=4.0), True),
        (row("count", "2"), True),
        (row("count", "2", start_s=4.0), False),
        (row("moving", "no", start_s=4.0), True),
        (row("moving", "no", start_s=4.0, state="unknown"), False),
    ],
)
def test_an_answer_is_right_if_its_facts_match_its_segment(said, right):
    (grade,) = grade_answers([said], CLIPS, PROMPTS)
    assert grade.right is right


def test_answers_to_other_prompts_and_for_other_files_are_skipped():
    others = row("violence", "no") | {"prompt_set": "moderation"}, row("count", "2") | {"uri": "file:///videos/b.mp4"}
    assert grade_answers(others, CLIPS, PROMPTS) == []


def test_grades_about_absent_things_are_marked():
    grades = grade_answers([row("red_circle", "yes"), row("circles", "0", start_s=4.0)], CLIPS, PROMPTS)
    assert [grade.of_nothing for grade in grades] == [False, True]
    assert share_right(grades) == 1.0


def test_a_poster_has_room_for_every_panel_and_marks_only_alerts():
    frames = [np.full((90, 160, 3), shade, np.uint8) for shade in (0, 120, 240)]
    calm, alert = Panel("a", frames, "a red circle."), Panel("b", frames, "a red triangle.", alert="a warning sign")
    poster = np.asarray(draw_poster([calm] * 4 + [alert]))
    red = (poster[..., 0] > 200) & (poster[..., 1] < 130)
    rows = np.nonzero(red.any(1))[0]
    assert rows.min() > poster.shape[0] / 2, "the alert is in the second row"
    assert np.asarray(draw_poster([calm])).shape[0] < poster.shape[0]
