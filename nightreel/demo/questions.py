"""The questions the demo model understands, in the exact words a model gets, and their correct answers for a scene.

Training and grading share one catalogue: `training` draws questions from it, `truth` looks prompts up in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from nightreel import domain
from nightreel.demo.captions import caption, explain_warning, name
from nightreel.demo.scenes import BACKGROUNDS, COLOURS, MOST_THINGS, MOTIONS, NO_MOTION, SHAPES, Scene, Thing
from nightreel.domain import Field, FieldType, Level, Prompt, PromptKind
from nightreel.errors import SettingsError
from nightreel.prompts.wording import texts_of

NONE, SEVERAL = "none", "several"

_CAPTIONS = (
    "Describe what happens in this video.",
    "Describe what happens in this video in one or two sentences.",
    "Describe the video.",
    "What happens in this video?",
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question in the words a model gets, and its correct answer for a scene.

    Args:
        family: groups questions that differ by a word or two; they are trained and counted together.
    """

    family: str
    text: str
    answer: Callable[[Scene], str]


@cache
def catalogue() -> dict[str, Question]:
    """All questions, by their text."""
    return {question.text: question for question in _questions()}


def truth(prompt: Prompt, scene: Scene) -> str | list[str]:
    """The correct answer: a text, or a list of the choices that apply, or of keywords.

    Raises:
        SettingsError: the prompt is not in the catalogue.
    """
    try:
        asked = [catalogue()[text] for text in texts_of(prompt.question)]
    except KeyError as error:
        raise SettingsError(f"prompt {prompt.name!r}: the demo's world has no answer to {error}") from None
    answers = [question.answer(scene) for question in asked]
    if prompt.question.kind is PromptKind.TAGS:
        return [choice for choice, answer in zip(prompt.question.choices, answers, strict=True) if answer == "yes"]
    return _as_answered(prompt, answers[0])


def _as_answered(prompt: Prompt, written: str) -> str | list[str]:
    """A correct answer as a verdict has it: keywords as a list, an object as JSON on one line."""
    match prompt.question.kind:
        case PromptKind.KEYWORDS:
            return list(dict.fromkeys(json.loads(written)[domain.KEYWORDS]))
        case PromptKind.OBJECT:
            return json.dumps(json.loads(written))
    return written


LATER_FAMILIES = ("keywords", "object")
"""Families that the model learned last, in words of their own: stage D of the training."""


@dataclass(frozen=True, slots=True)
class FilmQuestion:
    """A question about a whole video, in the words a model gets, and its correct answer for the scenes of a video."""

    text: str
    answer: Callable[[Sequence[Scene]], str]


@cache
def film_catalogue() -> dict[str, FilmQuestion]:
    """All questions about whole videos, by their text."""
    return {question.text: question for question in _film_questions()}


def film_truth(prompt: Prompt, scenes: Sequence[Scene]) -> str | list[str]:
    """The correct answer of a prompt about a whole video, as `truth` gives it."""
    (text,) = texts_of(prompt.question)
    return _as_answered(prompt, film_catalogue()[text].answer(scenes))


FIELDS = (
    Field(name="background", type=FieldType.STRING, choices=(*BACKGROUNDS,)),
    Field(name="motion", type=FieldType.STRING, choices=(*MOTIONS, NO_MOTION)),
    Field(name="shapes", type=FieldType.STRING, choices=SHAPES, max_items=MOST_THINGS),
    Field(name="things", type=FieldType.INTEGER, minimum=0, maximum=MOST_THINGS),
)
_MOST_KEYWORDS = 2 * MOST_THINGS


def _film_questions() -> Iterator[FilmQuestion]:
    keywords = domain.Question(kind=PromptKind.KEYWORDS, text="List the shapes.", most=len(SHAPES), level=Level.VIDEO)
    title = domain.Question(kind=PromptKind.TEXT, text="Give the video a title.", level=Level.VIDEO)
    for question, answer in ((keywords, _shape_keywords), (title, _title)):
        (text,) = texts_of(question)
        yield FilmQuestion(text, answer)


def _keywords(scene: Scene) -> str:
    """As JSON: the colour and the shape of each thing. A word that comes twice counts once when it is judged."""
    return spaced_json({domain.KEYWORDS: [word for thing in scene.things for word in (thing.colour, thing.shape)]})


def _shape_keywords(scenes: Sequence[Scene]) -> str:
    return spaced_json({domain.KEYWORDS: _shapes(scenes)})


def _object(scene: Scene) -> str:
    return spaced_json(
        {
            "background": scene.background,
            "motion": scene.motion,
            "shapes": [thing.shape for thing in scene.things],
            "things": len(scene.things),
        }
    )


def _title(scenes: Sequence[Scene]) -> str:
    """The shapes that the video is about: "circles and stars", or "empty"."""
    *others, last = [f"{shape}s" for shape in _shapes(scenes)] or ["empty"]
    return f"{', '.join(others)} and {last}" if others else last


def _shapes(scenes: Sequence[Scene]) -> list[str]:
    return [shape for shape in SHAPES if any(thing.shape == shape for scene in scenes for thing in scene.things)]


def spaced_json(value: Any) -> str:
    """JSON with spaces around all marks, so that each word of it is a word of the model's vocabulary.

    >>> spaced_json({"keywords": ["red", "star"], "things": 2})
    '{ "keywords" : [ "red" , "star" ] , "things" : 2 }'
    """
    if isinstance(value, dict):
        inner = " , ".join(f"{json.dumps(key)} : {spaced_json(one)}" for key, one in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, list):
        return f"[ {' , '.join(map(spaced_json, value))} ]" if value else "[ ]"
    return json.dumps(value)


def _questions() -> Iterator[Question]:
    yield from _forms()
    for text in _CAPTIONS:
        yield Question("caption", text, caption)
    for text in ("Explain why there is a warning.", "Explain why a warning is shown."):
        yield Question("explanation", text, explain_warning)
    yield from _counts()
    yield from _whole_scenes()
    yield from _attributes()
    yield from _presence()


def _forms() -> Iterator[Question]:
    keywords = domain.Question(kind=PromptKind.KEYWORDS, text="List the colours and shapes.", most=_MOST_KEYWORDS)
    yield Question("keywords", texts_of(keywords)[0], _keywords)
    facts = domain.Question(kind=PromptKind.OBJECT, text="Describe the video.", fields=FIELDS)
    yield Question("object", texts_of(facts)[0], _object)


def _counts() -> Iterator[Question]:
    for text in ("How many shapes are there?", "How many shapes can be seen?"):
        yield _ask("count", PromptKind.NUMBER, text, lambda scene: str(len(scene.things)))
    for word in (*SHAPES, *COLOURS):
        text = f"How many {word}s are there?" if word in SHAPES else f"How many {word} shapes are there?"
        yield _ask("count_some", PromptKind.NUMBER, text, _count_of(word))


def _whole_scenes() -> Iterator[Question]:
    yield _ask(
        "background",
        PromptKind.CHOICE,
        "What colour is the background?",
        lambda scene: scene.background,
        choices=(*BACKGROUNDS,),
    )
    for colour in BACKGROUNDS:
        yield _ask_whether("background_is", f"Is the background {colour}?", _background_is(colour))
    ways = (*MOTIONS, NO_MOTION)
    for text in ("Which way do the shapes move?", "Which way do they move?"):
        yield _ask("motion", PromptKind.CHOICE, text, lambda scene: scene.motion, choices=ways)
    for text in ("Is anything moving?", "Does anything move?"):
        yield _ask_whether("moving", text, lambda scene: scene.motion not in ("still", NO_MOTION))


def _attributes() -> Iterator[Question]:
    for shape in SHAPES:
        yield _ask(
            "colour",
            PromptKind.CHOICE,
            f"What colour is the {shape}?",
            _colour_of(shape),
            choices=(*COLOURS, SEVERAL, NONE),
        )
    for colour in COLOURS:
        yield _ask(
            "shape",
            PromptKind.CHOICE,
            f"What shape is {colour}?",
            _shape_of(colour),
            choices=(*SHAPES, SEVERAL, NONE),
        )


def _presence() -> Iterator[Question]:
    for text in ("Is a warning sign shown?", "Is there a warning sign?"):
        yield _ask_whether("warning", text, lambda scene: any(thing.is_warning for thing in scene.things))
    yield _ask_whether("any", "Is there a shape?", lambda scene: bool(scene.things))
    for shape in SHAPES:
        yield _ask_whether("is_there", f"Is there {name(shape)}?", _has(shape))
    for colour in COLOURS:
        yield _ask_whether("is_any", f"Is any shape {colour}?", _has(colour))
        for shape in SHAPES:
            yield _ask_whether("is_there_both", f"Is there {name(colour, shape)}?", _has(colour, shape))


def _ask(
    family: str, kind: PromptKind, text: str, answer: Callable[[Scene], str], *, choices: Sequence[str] = ()
) -> Question:
    (asked,) = texts_of(domain.Question(kind=kind, text=text, choices=tuple(choices)))
    return Question(family, asked, answer)


def _ask_whether(family: str, text: str, holds: Callable[[Scene], bool]) -> Question:
    return _ask(family, PromptKind.YES_NO, text, lambda scene: "yes" if holds(scene) else "no")


def _count_of(word: str) -> Callable[[Scene], str]:
    return lambda scene: str(len(_with(scene, word)))


def _background_is(colour: str) -> Callable[[Scene], bool]:
    return lambda scene: scene.background == colour


def _colour_of(shape: str) -> Callable[[Scene], str]:
    return lambda scene: _only([thing.colour for thing in _with(scene, shape)])


def _shape_of(colour: str) -> Callable[[Scene], str]:
    return lambda scene: _only([thing.shape for thing in _with(scene, colour)])


def _has(*words: str) -> Callable[[Scene], bool]:
    return lambda scene: bool(_with(scene, *words))


def _with(scene: Scene, *words: str) -> list[Thing]:
    """The things that all words describe."""
    return [thing for thing in scene.things if {*words} <= {thing.colour, thing.shape}]


def _only(values: Sequence[str]) -> str:
    return NONE if not values else values[0] if len(values) == 1 else SEVERAL
