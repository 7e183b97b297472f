"""A small world of moving shapes: the possible things, and scenes drawn by seed. It contains no pixels and no words.

A scene holds 0 to 3 shapes on a plain background. They do not overlap, and all move the same way. Two may share a
colour or a shape, never both. A red triangle is the world's warning sign: something for moderators to find.
`drawing` paints scenes; `captions` and `questions` give the correct sentences and answers.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from nightreel.errors import SettingsError

COLOURS = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (235, 215, 45),
    "green": (40, 175, 60),
    "blue": (50, 85, 230),
    "purple": (155, 55, 195),
}
SHAPES = ("circle", "square", "triangle", "star")
BACKGROUNDS = {"black": (14, 14, 16), "grey": (128, 128, 130), "white": (242, 242, 240)}
MOTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}
NO_MOTION = "none"
"""The motion of a scene without things."""
MOST_THINGS = 3
WARNING = ("red", "triangle")
REACH = 1.3
"""The farthest any shape reaches from its centre, in radii."""

_RADIUS = (0.13, 0.17)  # of the shorter side
_TRAVEL = (0.2, 0.3)  # of width or height, from the scene's start to its end
_COUNT_WEIGHTS = (0.12, 0.26, 0.32, 0.30)  # of 0, 1, 2 and 3 things
_SHARED = 0.3  # of the scenes with several things: two get the same colour; as often, the same shape
_WARNINGS = 0.16  # of the scenes with things: one becomes the warning sign
_EDGE = 0.02
_APART = 0.95
_TRIES = 40


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape.

    Args:
        x, y: its centre half-way through the scene, as shares of width and height from the upper left corner.
        radius: share of the picture's shorter side.
    """

    shape: str
    colour: str
    x: float
    y: float
    radius: float

    def __post_init__(self) -> None:
        if self.shape not in SHAPES or self.colour not in COLOURS:
            raise SettingsError(f"no such thing as a {self.colour!r} {self.shape!r}: see COLOURS and SHAPES")

    @property
    def rank(self) -> tuple[int, int]:
        """Its place in the order of names: by colour, then by shape."""
        return _COLOUR_RANK[self.colour], SHAPES.index(self.shape)

    @property
    def is_warning(self) -> bool:
        return (self.colour, self.shape) == WARNING


_COLOUR_RANK = {colour: rank for rank, colour in enumerate(COLOURS)}


@dataclass(frozen=True, slots=True)
class Scene:
    """Things on a background. Only their positions change during a scene.

    Args:
        things: sorted by `Thing.rank` on creation.
        motion: one of MOTIONS; NO_MOTION if there are no things.
        travel: the distance they move in the whole scene, as a share of width or height.
    """

    things: tuple[Thing, ...]
    background: str
    motion: str
    travel: float = 0.3

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.things, key=lambda thing: thing.rank))
        object.__setattr__(self, "things", ordered)
        if len({thing.rank for thing in ordered}) < len(ordered) or len(ordered) > MOST_THINGS:
            raise SettingsError(f"{ordered}: expected at most {MOST_THINGS} things, no two of one colour and shape")
        if self.background not in BACKGROUNDS or self.motion not in ((*MOTIONS,) if ordered else (NO_MOTION,)):
            raise SettingsError(f"no such scene: {len(ordered)} things, {self.background = }, {self.motion = }")

    def offset(self, moment: float) -> tuple[float, float]:
        """The offset of things from their (x, y), as shares of width and height; `moment` runs from 0 to 1."""
        dx, dy = MOTIONS.get(self.motion, (0, 0))
        way = self.travel * (moment - 0.5)
        return dx * way, dy * way


def draw_scene(seed: int | str) -> Scene:
    """Draw the scene of this seed, the same on every machine. Training draws from other seeds, see `sample_scene`."""
    return sample_scene(random.Random(f"scene {seed}"))  # noqa: S311 - not a secret


def sample_scene(dice: random.Random) -> Scene:
    """Draw a scene with these dice."""
    (count,) = dice.choices(range(MOST_THINGS + 1), _COUNT_WEIGHTS)
    kinds = _kinds(dice, count)
    background = dice.choice((*BACKGROUNDS,))
    motion = dice.choice((*MOTIONS,)) if count else NO_MOTION
    places = None
    while places is None:
        travel = dice.uniform(*_TRAVEL)
        dx, dy = MOTIONS.get(motion, (0, 0))
        places = _places(dice, count, room=(abs(dx) * travel, abs(dy) * travel))
    things = tuple(Thing(shape, colour, *place) for (colour, shape), place in zip(kinds, places, strict=True))
    return Scene(things, background, motion, travel)


def _places(dice: random.Random, count: int, *, room: tuple[float, float]) -> list[tuple[float, float, float]] | None:
    """(x, y, radius) of things that do not overlap and stay inside while they move; None if they do not fit."""
    places: list[tuple[float, float, float]] = []
    for _ in range(_TRIES):
        if len(places) == count:
            break
        radius = dice.uniform(*_RADIUS)
        margins = [REACH * radius + _EDGE + way / 2 for way in room]
        x, y = (dice.uniform(margin, 1 - margin) for margin in margins)
        if all(_are_apart((x, y, radius), other) for other in places):
            places.append((x, y, radius))
    return places if len(places) == count else None


def _are_apart(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    least = _APART * REACH * (one[2] + other[2])
    return (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2 > least**2


def _kinds(dice: random.Random, count: int) -> Sequence[tuple[str, str]]:
    """(colour, shape) of each thing, all different. Pairs that share one are more frequent than by chance."""
    every = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    kinds = dice.sample(every, count)
    draw = dice.random()
    if count > 1 and draw < 2 * _SHARED:
        alike = 0 if draw < _SHARED else 1
        kinds[1] = dice.choice([kind for kind in every if kind[alike] == kinds[0][alike] and kind not in kinds])
    if count and WARNING not in kinds and dice.random() < _WARNINGS:
        kinds[dice.randrange(count)] = WARNING
    return kinds
