"""Correct answers and captions, checked on scenes whose answers are written out here."""

from __future__ import annotations

import pytest

from nightreel.demo.captions import caption, read_caption, said_of
from nightreel.demo.questions import catalogue, film_truth, truth
from nightreel.demo.scenes import Scene, Thing, draw_scene
from nightreel.domain import Level, Prompt, PromptKind
from nightreel.errors import SettingsError
from nightreel.prompts.loading import load_prompt_sets

SETS = load_prompt_sets(("demo", "demo_moderation", "demo_tagging")).prompts
PROMPTS = {prompt.name: prompt for prompt in SETS if prompt.question.level is Level.SEGMENT}
FILMS = {prompt.name: prompt for prompt in SETS if prompt.question.level is Level.VIDEO}


def scene(*kinds: str, motion: str = "left", background: str = "grey") -> Scene:
    """Build a scene from words: `scene("red circle", "blue star")`."""
    things = (Thing(kind.split()[1], kind.split()[0], 0.2 + 0.3 * i, 0.5, 0.1) for i, kind in enumerate(kinds))
    return Scene(tuple(things), background, motion if kinds else "none")


EMPTY, ONE = scene(), scene("red triangle", motion="still", background="black")
SEVERAL = scene("blue star", "orange circle", "red circle")


@pytest.mark.parametrize(
    ("name", "empty", "one", "several"),
    [
        (
            "scene",
            "an empty grey background.",
            "a red triangle stays still on a black background.",
            "a red circle, an orange circle and a blue star move left on a grey background.",
        ),
        ("count", "0", "1", "3"),
        ("background", "grey", "black", "grey"),
        ("motion", "none", "still", "left"),
        ("moving", "no", "no", "yes"),
        ("red_circle", "no", "no", "yes"),
        ("circle_colour", "none", "none", "several"),
        ("circles", "0", "0", "2"),
        ("colours", [], ["red"], ["red", "orange", "blue"]),
        ("shapes", [], ["triangle"], ["circle", "star"]),
        ("warning", "no", "yes", "no"),
        (
            "seen",
            "an empty grey background.",
            "a red triangle stays still on a black background.",
            "a red circle, an orange circle and a blue star move left on a grey background.",
        ),
        ("keywords", [], ["red", "triangle"], ["red", "circle", "orange", "blue", "star"]),
        (
            "facts",
            '{"background": "grey", "motion": "none", "shapes": [], "things": 0}',
            '{"background": "black", "motion": "still", "shapes": ["triangle"], "things": 1}',
            '{"background": "grey", "motion": "left", "shapes": ["circle", "circle", "star"], "things": 3}',
        ),
        (
            "why",
            "there is no warning sign.",
            "a red triangle, the warning sign, stays still on a black background.",
            "there is no warning sign.",
        ),
    ],
)
def test_truth_answers_every_demo_prompt(name, empty, one, several):
    assert [truth(PROMPTS[name], each) for each in (EMPTY, ONE, SEVERAL)] == [empty, one, several]


def test_the_table_above_has_every_prompt():
    (parameters,) = (mark for mark in test_truth_answers_every_demo_prompt.pytestmark if mark.name == "parametrize")
    assert {row[0] for row in parameters.args[1]} == PROMPTS.keys()


def test_a_caption_is_read_back_as_its_facts():
    for seed in range(200):
        drawn = draw_scene(seed)
        assert read_caption(caption(drawn)) == said_of(drawn)


@pytest.mark.parametrize(
    "text", ["", "a red circle.", "a red hexagon moves left on a grey background.", "an empty grey background. yes"]
)
def test_a_text_outside_the_grammar_is_not_read(text):
    assert read_caption(text) is None


def test_wrong_captions_are_read_as_other_facts():
    true = said_of(SEVERAL)
    for wrong in (
        "a red circle and a blue star move left on a grey background.",
        "a red circle, an orange circle and a green star move left on a grey background.",
        "a red circle, an orange circle and a blue star move right on a grey background.",
        "a red circle, an orange circle and a blue star move left on a white background.",
    ):
        assert read_caption(wrong) not in (None, true)


def test_a_question_outside_the_world_is_refused():
    with pytest.raises(SettingsError, match="no answer to 'Is it raining"):
        truth(Prompt.of(name="rain", kind=PromptKind.YES_NO, text="Is it raining?"), ONE)


def test_questions_are_asked_in_the_words_of_the_pipeline():
    assert "Is there an orange star? Answer yes or no." in catalogue()
    assert "Is any shape red? Answer yes or no." in catalogue()


def test_truth_of_whole_videos_counts_all_scenes():
    films = ([EMPTY], [EMPTY, ONE], [SEVERAL, EMPTY, ONE])
    said = {name: [film_truth(prompt, film) for film in films] for name, prompt in FILMS.items()}
    assert said == {
        "title": ["empty", "triangles", "circles, triangles and stars"],
        "film_keywords": [[], ["triangle"], ["circle", "triangle", "star"]],
    }
