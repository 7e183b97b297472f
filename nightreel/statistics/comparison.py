"""Whether two models differ on the same items."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nightreel.statistics.intervals import Interval, share


@dataclass(frozen=True)
class Comparison:
    """Two models on the same items.

    Args:
        only_first, only_second: items that only this one got right.
        p_value: the probability of a difference at least as large if both were equally good.
    """

    items: int
    only_first: int
    only_second: int
    p_value: float

    @property
    def gain(self) -> float:
        """The accuracy of the second less that of the first."""
        return (self.only_second - self.only_first) / self.items


def compare(first: list[bool], second: list[bool]) -> Comparison:
    """Compare which items each of two models got right: McNemar's test, exact.

    McNemar (Psychometrika 12, 1947, p. 153); items that both got right or wrong say nothing.

    Raises:
        ValueError: the lists differ in length, or are empty.

    >>> compare([True, True, False, True], [True, False, False, False])
    Comparison(items=4, only_first=2, only_second=0, p_value=0.5)
    """
    if not first or len(first) != len(second):
        raise ValueError(f"not the same items: {len(first)=}, {len(second)=}")
    pairs = list(zip(first, second, strict=True))
    only_first = sum(a and not b for a, b in pairs)
    only_second = sum(b and not a for a, b in pairs)
    differing = only_first + only_second
    tail = sum(math.comb(differing, k) for k in range(min(only_first, only_second) + 1))
    return Comparison(len(pairs), only_first, only_second, min(1.0, 2 * tail / 2**differing))


def accuracy(right: list[bool]) -> Interval:
    """The share of right items."""
    return share(sum(right), len(right))
