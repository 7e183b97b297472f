"""Descriptions of scenes as people type them to search: English and Chinese, whole or in part.

The dual encoder of the demo learns from them. A frame shows what they state; how things move, it does not show: words
about that are in some descriptions, and change nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from nightreel.demo.captions import caption, name
from nightreel.demo.scenes import BACKGROUNDS, COLOURS, MOTIONS, WARNING, Scene

Kind = tuple[str, str]
"""(colour, shape) of a thing."""


class Language(StrEnum):
    ENGLISH = "English"
    CHINESE = "Chinese"


@dataclass(frozen=True, slots=True)
class Shown:
    """What each frame of a scene shows: the kinds of its things, and the background."""

    kinds: frozenset[Kind]
    background: str


@dataclass(frozen=True, slots=True)
class Description:
    """A text, and whether it is true of what frames show.

    Args:
        whole: it states everything, so it is true of one `Shown` only.
    """

    text: str
    is_true: Callable[[Shown], bool]
    whole: bool


_SHAPES_EN = {
    "circle": ("circle", "disc", "dot"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
}
_COLOURS_EN = {colour: (colour,) for colour in COLOURS} | {"purple": ("purple", "violet")}
_BACKGROUNDS_EN = {background: (background,) for background in BACKGROUNDS} | {"grey": ("grey", "gray")}
_SHAPES_ZH = {
    "circle": ("圆形", "圆", "圆圈"),
    "square": ("正方形", "方形", "方块"),
    "triangle": ("三角形", "三角"),
    "star": ("星形", "星星", "五角星"),
}
_COLOURS_ZH = {"red": "红", "orange": "橙", "yellow": "黄", "green": "绿", "blue": "蓝", "purple": "紫"}
_BACKGROUNDS_ZH = {"black": "黑", "grey": "灰", "white": "白"}
_MOTIONS_ZH = {"left": "向左移动", "right": "向右移动", "up": "向上移动", "down": "向下移动", "still": "静止不动"}
_COUNTS_EN = {1: ("one", ""), 2: ("two", "s"), 3: ("three", "s")}
_COUNTS_ZH = {1: "一", 2: "两", 3: "三"}
_ASKING_EN = ("", "", "", "find ", "show me ", "a video of ", "clips with ", "a picture of ", "there is ")
_ASKING_ZH = ("", "", "", "找", "有", "视频里有", "画面中有", "请找出")


def shown_in(scene: Scene) -> Shown:
    return Shown(frozenset((thing.colour, thing.shape) for thing in scene.things), scene.background)


def describe(scene: Scene, language: Language) -> str:
    """The plain description of a scene: it states the things and the background.

    >>> from nightreel.demo.scenes import Thing
    >>> scene = Scene((Thing("circle", "red", 0.5, 0.5, 0.1),), "black", "left")
    >>> describe(scene, Language.ENGLISH), describe(scene, Language.CHINESE)
    ('a red circle on a black background', '黑色背景上有红色圆形')
    """
    kinds = [(thing.colour, thing.shape) for thing in scene.things]
    if language is Language.CHINESE:
        ground = f"{_BACKGROUNDS_ZH[scene.background]}色背景"
        return (
            f"{ground}上有{_and_zh([f'{_COLOURS_ZH[c]}色{_SHAPES_ZH[s][0]}' for c, s in kinds])}"
            if kinds
            else f"空的{ground}"
        )
    ground = f"{name(scene.background, 'background')}"
    return (
        f"{_and_en([name(*kind) for kind in kinds])} on {ground}"
        if kinds
        else f"an empty {scene.background} background"
    )


def draw_whole(scene: Scene, dice: random.Random, *, language: Language | None = None) -> Description:
    """One of many ways to state all that the frames of a scene show."""
    shown = shown_in(scene)
    language = language or dice.choice((*Language,))
    text = _whole_zh(scene, dice) if language is Language.CHINESE else _whole_en(scene, dice)
    return Description(text, lambda other: other == shown, whole=True)


def draw_part(scene: Scene, dice: random.Random) -> Description:
    """One of many ways to state a part of what the frames of a scene show."""
    draw = dice.choice((_part_zh, _part_en))
    text, is_true = draw(shown_in(scene), dice)
    return Description(text, is_true, whole=False)


def all_words() -> list[str]:
    """Texts that have every word of every description."""
    english = [*_asked(_SHAPES_EN), *_asked(_COLOURS_EN), *_asked(_BACKGROUNDS_EN), *MOTIONS, *_ASKING_EN]
    english += [f"{shape}s" for shape in _asked(_SHAPES_EN)] + [word for word, _ in _COUNTS_EN.values()]
    english += ["an empty background: nothing, a plain with and on no. move moves stay stays still moving moves to the"]
    english += ["something thing things shape shapes in on warning sign"]
    chinese = [*_asked(_SHAPES_ZH), *_COLOURS_ZH.values(), *_BACKGROUNDS_ZH.values(), *_MOTIONS_ZH.values()]
    chinese += [*_ASKING_ZH, *_COUNTS_ZH.values(), "空的背景上有个和、，。颜色的没有任何东西物体形状图形警告标志只"]
    return [*english, *chinese]


def _asked(words: Mapping[str, tuple[str, ...]]) -> list[str]:
    return [word for some in words.values() for word in some]


def _whole_en(scene: Scene, dice: random.Random) -> str:
    if dice.random() < 0.2:
        return caption(scene)
    ground = f"{_article(dice.choice(_BACKGROUNDS_EN[scene.background]), dice)} background"
    if not scene.things:
        return dice.choice((f"an empty {ground.split(' ', 1)[-1]}", f"nothing on {ground}", f"{ground} with nothing"))
    things = [_thing_en((thing.colour, thing.shape), dice) for thing in scene.things]
    dice.shuffle(things)
    said = _and_en(things) if dice.random() < 0.7 else " ".join(things)
    moving = dice.choice(("", "", "", f" moving {scene.motion}"))
    text = dice.choice((f"{said}{moving} on {ground}", f"{said}{moving}, {ground}", f"{ground} with {said}{moving}"))
    return dice.choice(_ASKING_EN) + text + dice.choice(("", "", "."))


def _whole_zh(scene: Scene, dice: random.Random) -> str:
    ground = f"{_BACKGROUNDS_ZH[scene.background]}{dice.choice(('色', '色', ''))}背景"
    if not scene.things:
        return dice.choice((f"空的{ground}", f"{ground}，没有任何东西", f"{ground}上没有东西"))
    things = [_thing_zh((thing.colour, thing.shape), dice) for thing in scene.things]
    dice.shuffle(things)
    said = _and_zh(things) if dice.random() < 0.7 else "".join(things)
    moving = dice.choice(("", "", "", _MOTIONS_ZH[scene.motion]))
    text = dice.choice(
        (f"{ground}上有{said}{moving}", f"{ground}上的{said}", f"{said}{moving}，{ground}", f"{ground}，{said}")
    )
    return dice.choice(_ASKING_ZH) + text + dice.choice(("", "", "。"))


def _part_en(shown: Shown, dice: random.Random) -> tuple[str, Callable[[Shown], bool]]:
    kinds = sorted(shown.kinds)
    asking, ground = dice.choice(_ASKING_EN), shown.background
    draw = dice.random()
    if not kinds or draw < 0.12:
        return f"{asking}{_article(dice.choice(_BACKGROUNDS_EN[ground]), dice)} background", _has_ground(ground)
    colour, shape = kind = dice.choice(kinds)
    if draw < 0.5:
        said = (
            dice.choice(("a warning sign", "warning sign")) if kind == WARNING and draw < 0.3 else _thing_en(kind, dice)
        )
        return asking + said, _has(kind)
    if draw < 0.6:
        word = dice.choice(_SHAPES_EN[shape])
        return asking + dice.choice((word, name(word), f"{word}s")), _has_shape(shape)
    if draw < 0.7:
        word = dice.choice(_COLOURS_EN[colour])
        return asking + dice.choice((word, f"something {word}", name(word, "thing"), f"{word} shapes")), _has_colour(
            colour
        )
    if draw < 0.8:
        count, ending = _COUNTS_EN[len(kinds)]
        return asking + count + dice.choice((" thing", " shape")) + ending, _has_count(len(kinds))
    if draw < 0.9 or len(kinds) < 2:
        where = f"on {_article(dice.choice(_BACKGROUNDS_EN[ground]), dice)} background"
        return f"{asking}{_thing_en(kind, dice)} {where}", _has(kind, ground=ground)
    pair = dice.sample(kinds, 2)
    return asking + _and_en([_thing_en(one, dice) for one in pair]), _has(*pair)


def _part_zh(shown: Shown, dice: random.Random) -> tuple[str, Callable[[Shown], bool]]:
    kinds = sorted(shown.kinds)
    asking, ground = dice.choice(_ASKING_ZH), shown.background
    draw = dice.random()
    said_ground = f"{_BACKGROUNDS_ZH[ground]}{dice.choice(('色', ''))}背景"
    if not kinds or draw < 0.12:
        return asking + said_ground, _has_ground(ground)
    colour, shape = kind = dice.choice(kinds)
    if draw < 0.5:
        return asking + ("警告标志" if kind == WARNING and draw < 0.3 else _thing_zh(kind, dice)), _has(kind)
    if draw < 0.6:
        return asking + dice.choice(("", "一个")) + dice.choice(_SHAPES_ZH[shape]), _has_shape(shape)
    if draw < 0.7:
        return asking + f"{_COLOURS_ZH[colour]}色" + dice.choice(("", "的东西", "物体", "图形")), _has_colour(colour)
    if draw < 0.8:
        return f"{asking}{_COUNTS_ZH[len(kinds)]}个" + dice.choice(("东西", "物体", "图形")), _has_count(len(kinds))
    if draw < 0.9 or len(kinds) < 2:
        return f"{asking}{said_ground}上的{_thing_zh(kind, dice)}", _has(kind, ground=ground)
    pair = dice.sample(kinds, 2)
    return asking + _and_zh([_thing_zh(one, dice) for one in pair]), _has(*pair)


def _has(*kinds: Kind, ground: str | None = None) -> Callable[[Shown], bool]:
    return lambda shown: shown.kinds.issuperset(kinds) and ground in (None, shown.background)


def _has_ground(ground: str) -> Callable[[Shown], bool]:
    return lambda shown: shown.background == ground


def _has_shape(shape: str) -> Callable[[Shown], bool]:
    return lambda shown: any(kind[1] == shape for kind in shown.kinds)


def _has_colour(colour: str) -> Callable[[Shown], bool]:
    return lambda shown: any(kind[0] == colour for kind in shown.kinds)


def _has_count(count: int) -> Callable[[Shown], bool]:
    return lambda shown: len(shown.kinds) == count


def _thing_en(kind: Kind, dice: random.Random) -> str:
    colour, shape = dice.choice(_COLOURS_EN[kind[0]]), dice.choice(_SHAPES_EN[kind[1]])
    return _article(f"{colour} {shape}", dice)


def _thing_zh(kind: Kind, dice: random.Random) -> str:
    one, of = dice.choice(("", "", "一个")), dice.choice(("色", "色", "色的", ""))
    return f"{one}{_COLOURS_ZH[kind[0]]}{of}{dice.choice(_SHAPES_ZH[kind[1]])}"


def _article(words: str, dice: random.Random) -> str:
    return name(words) if dice.random() < 0.7 else words


def _and_en(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _and_zh(names: Sequence[str]) -> str:
    *others, last = names
    return f"{'、'.join(others)}和{last}" if others else last
