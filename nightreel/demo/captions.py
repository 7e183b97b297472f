"""Write and read the sentences of the demo's world, which follow one exact grammar.

    an empty grey background.
    a red circle moves left on a black background.
    a red circle, a red star and a blue square stay still on a white background.

`questions` uses them as the answers to train on. Grading compares the facts a sentence states, not its letters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nightreel.demo.scenes import BACKGROUNDS, COLOURS, MOTIONS, NO_MOTION, SHAPES, WARNING, Scene

NO_WARNING = "there is no warning sign."

_THING = rf"an? ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
_WORDS = {motion: f"move {motion}" for motion in MOTIONS} | {"still": "stay still"}
_SENTENCE = re.compile(
    rf"(?P<things>{_THING}(?:(?:, | and ){_THING})*) "
    r"(?P<motion>moves? (?:left|right|up|down)|stays? still) on an? "
    rf"(?P<background>{'|'.join(BACKGROUNDS)}) background\."
)
_EMPTY = re.compile(rf"an empty (?P<background>{'|'.join(BACKGROUNDS)}) background\.")


@dataclass(frozen=True, slots=True)
class Said:
    """The facts a sentence states: (colour, shape) of the things it names, their motion, the background."""

    things: frozenset[tuple[str, str]]
    motion: str
    background: str


def caption(scene: Scene) -> str:
    """The caption of a scene.

    >>> from nightreel.demo.scenes import Thing
    >>> caption(Scene((Thing("circle", "red", 0.5, 0.5, 0.1),), "black", "left"))
    'a red circle moves left on a black background.'
    """
    if not scene.things:
        return f"an empty {scene.background} background."
    *others, last = (name(thing.colour, thing.shape) for thing in scene.things)
    said = f"{', '.join(others)} and {last}" if others else last
    return f"{said} {_doing(scene.motion, many=bool(others))} on a {scene.background} background."


def explain_warning(scene: Scene) -> str:
    """Describe the warning sign, or state that there is none.

    >>> from nightreel.demo.scenes import Thing
    >>> explain_warning(Scene((Thing("triangle", "red", 0.5, 0.5, 0.1),), "grey", "still"))
    'a red triangle, the warning sign, stays still on a grey background.'
    """
    if not any(thing.is_warning for thing in scene.things):
        return NO_WARNING
    doing = _doing(scene.motion, many=False)
    return f"{name(*WARNING)}, the warning sign, {doing} on a {scene.background} background."


def read_caption(text: str) -> Said | None:
    """The facts a caption states, things in any order; None if the text is not a sentence of this grammar.

    >>> read_caption("a blue star and a red circle move up on a white background.").motion
    'up'
    """
    empty = _EMPTY.fullmatch(text)
    if empty:
        return Said(frozenset(), NO_MOTION, empty["background"])
    found = _SENTENCE.fullmatch(text)
    if not found:
        return None
    return Said(frozenset(re.findall(_THING, found["things"])), found["motion"].split()[1], found["background"])


def said_of(scene: Scene) -> Said:
    """The facts that a correct caption of the scene states."""
    things = frozenset((thing.colour, thing.shape) for thing in scene.things)
    return Said(things, scene.motion, scene.background)


def name(*words: str) -> str:
    """Words with their indefinite article.

    >>> name("orange", "star")
    'an orange star'
    """
    return f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"


def _doing(motion: str, *, many: bool) -> str:
    verb, way = _WORDS[motion].split()
    return f"{verb}{'' if many else 's'} {way}"
