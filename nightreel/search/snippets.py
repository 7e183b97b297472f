"""Snippets: the part of a text around the words that were found, with their places in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Mark = tuple[int, int]
"""The first character, and the one after the last."""

_AROUND = 60  # characters before the first mark
_LONGEST = 240
_CUT = "…"


@dataclass(frozen=True, slots=True)
class Snippet:
    """A part of a text, untrusted and as a model wrote it: escape each part for where it is shown.

    Args:
        marks: the words that were found, in their order; they do not overlap.
    """

    text: str
    marks: tuple[Mark, ...] = ()

    def parts(self) -> list[tuple[str, bool]]:
        """The text in parts, each with whether it is marked.

        >>> Snippet("a red van", ((2, 5),)).parts()
        [('a ', False), ('red', True), (' van', False)]
        """
        found, reached = [], 0
        for start, end in self.marks:
            found += [(self.text[reached:start], False), (self.text[start:end], True)]
            reached = end
        found.append((self.text[reached:], False))
        return [(part, is_marked) for part, is_marked in found if part]


def cut(text: str, marks: Sequence[Mark]) -> Snippet:
    """The part of a text around its first mark, with all marks that are in it.

    >>> cut("a red van", [(2, 4), (3, 5)])
    Snippet(text='a red van', marks=((2, 5),))
    """
    merged = _merged(marks)
    if len(text) <= _LONGEST:
        return Snippet(text, tuple(merged))
    start = max(0, merged[0][0] - _AROUND) if merged else 0
    if start:
        space = text.find(" ", start, start + _AROUND // 2)
        start = space + 1 if space >= 0 else start
    end = min(len(text), start + _LONGEST)
    before, after = _CUT if start else "", _CUT if end < len(text) else ""
    move = len(before) - start
    inside = [(max(first, start) + move, min(last, end) + move) for first, last in merged if first < end]
    return Snippet(before + text[start:end] + after, tuple(inside))


def _merged(marks: Iterable[Mark]) -> list[Mark]:
    """Marks in their order; those that touch or overlap as one."""
    found: list[Mark] = []
    for start, end in sorted(marks):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found
