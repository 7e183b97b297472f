"""A small world of moving shapes: scenes, their pictures, and the truth about them.

A scene holds 0 to 3 shapes that do not overlap, each of one colour, all moving alike, on a plain background. It is
drawn from a seed, so that the same seed is the same scene on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 90, 230),
    "yellow": (235, 210, 50),
    "purple": (150, 60, 190),
    "orange": (240, 140, 30),
}
SHAPES = ("circle", "square", "triangle", "star")
BACKGROUNDS = {"black": (16, 16, 20), "grey": (128, 128, 132), "white": (240, 240, 236)}
MOTIONS = {"not moving": (0, 0), "left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
SIZE_PX = 128
FPS = 12
_RADIUS_PX = 17
_TRAVEL_PX = 30  # from the first frame of a scene to its last
_OVERSAMPLING = 3
# Angles from the top, clockwise, and distances from the middle in radii.
_CORNERS = {
    "triangle": (np.radians([0, 120, 240]), np.full(3, 1.1)),
    "star": (np.radians(np.arange(0, 360, 36)), np.tile([1.1, 0.45], 5)),
}


@dataclass(frozen=True, slots=True)
class Thing:
    """A shape in the middle of its way; `x` and `y` in pixels from the upper left corner."""

    shape: str
    colour: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Scene:
    """What is to be seen for `duration_s` seconds, and in what words."""

    things: tuple[Thing, ...]
    background: str
    motion: str
    duration_s: float

    @property
    def caption(self) -> str:
        """
        >>> Scene((Thing("circle", "red", 64, 64),), "black", "left", 4.0).caption
        'a red circle moves left on a black background.'
        """
        names = [f"{_article(thing.colour)} {thing.colour} {thing.shape}" for thing in sorted(self.things, key=_order)]
        if not names:
            return f"an empty {self.background} background."
        said = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
        many = len(names) > 1
        doing = ("stay" if many else "stays") + " still"
        if self.motion != "not moving":
            doing = f"{'move' if many else 'moves'} {self.motion}"
        return f"{said} {doing} on a {self.background} background."

    def frames(self) -> Iterator[np.ndarray]:
        """The pictures: uint8 RGB (SIZE_PX, SIZE_PX, 3), FPS a second."""
        count = max(1, round(self.duration_s * FPS))
        dx, dy = MOTIONS[self.motion]
        for index in range(count):
            way = _TRAVEL_PX * (index / max(1, count - 1) - 0.5)
            yield self._draw(dx * way, dy * way)

    def _draw(self, dx: float, dy: float) -> np.ndarray:
        size = SIZE_PX * _OVERSAMPLING
        image = Image.new("RGB", (size, size), BACKGROUNDS[self.background])
        draw = ImageDraw.Draw(image)
        for thing in self.things:
            x, y = (thing.x + dx) * _OVERSAMPLING, (thing.y + dy) * _OVERSAMPLING
            _draw_shape(draw, thing.shape, x, y, _RADIUS_PX * _OVERSAMPLING, COLOURS[thing.colour])
        return np.asarray(image.resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX))


def draw_scene(seed: int, *, duration_s: float = 4.0) -> Scene:
    """The scene of this seed."""
    dice = random.Random(f"scene {seed}")  # noqa: S311 - not a secret
    count = dice.choice((0, 1, 1, 2, 2, 2, 3, 3))
    margin = _RADIUS_PX + _TRAVEL_PX / 2 + 2
    places: list[tuple[float, float]] = []
    while len(places) < count:
        place = dice.uniform(margin, SIZE_PX - margin), dice.uniform(margin, SIZE_PX - margin)
        if all(max(abs(place[0] - x), abs(place[1] - y)) > 2 * _RADIUS_PX + 2 for x, y in places):
            places.append(place)
        elif dice.random() < 0.02:
            places.clear()  # a corner nobody else fits beside
    colours = dice.sample(sorted(COLOURS), count)
    things = tuple(Thing(dice.choice(SHAPES), colour, x, y) for colour, (x, y) in zip(colours, places, strict=True))
    return Scene(things, dice.choice(sorted(BACKGROUNDS)), dice.choice(sorted(MOTIONS)), duration_s)


def _order(thing: Thing) -> tuple[str, str]:
    return thing.colour, thing.shape


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _draw_shape(draw: ImageDraw.ImageDraw, shape: str, x: float, y: float, radius: float, colour: tuple) -> None:
    if shape == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        return
    if shape == "square":
        side = radius * 0.89
        draw.rectangle((x - side, y - side, x + side, y + side), fill=colour)
        return
    angles, reach = _CORNERS[shape]
    draw.polygon(
        list(zip(x + reach * radius * np.sin(angles), y - reach * radius * np.cos(angles), strict=True)), fill=colour
    )
