"""Whether probabilities are true, and which threshold gives a wished precision or recall.

The items are those that people judged. They are not a random sample: everything that a machine flags is judged, and few
of the others. So each item has a weight, the number of items that it stands for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from nightreel.statistics.intervals import Interval, share

BINS = 10


@dataclass(frozen=True)
class Judged:
    """An item that a person judged.

    Args:
        p: the machine's probability of "yes". positive: what the person says. weight: the items that it stands for.

    Raises:
        ValueError: p is no probability, or the weight is not positive.
    """

    p: float
    positive: bool
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"not a probability: {self.p=}")
        if not 0 < self.weight < math.inf:
            raise ValueError(f"not a weight: {self.weight=}")


@dataclass(frozen=True)
class Bin:
    """One line of a reliability table.

    Args:
        low, high: the range of p. count: judged items. mean_p: their weighted mean. positive: their share of positives.
    """

    low: float
    high: float
    count: int
    weight: float
    mean_p: float
    positive: Interval


@dataclass(frozen=True)
class Reliability:
    """A reliability table with its expected calibration error."""

    bins: tuple[Bin, ...]
    error: float


@dataclass(frozen=True)
class Threshold:
    """What a threshold gives: an item is flagged when p is at least the threshold.

    Args:
        flagged: the share of all items that it flags.
    """

    threshold: float
    precision: Interval
    recall: Interval
    flagged: float


def reliability(items: Sequence[Judged]) -> Reliability | None:
    """The reliability table, in ten ranges of equal width, and the expected calibration error.

    The error is the mean distance between p and the share of positives (Naeini, Cooper and Hauskrecht, AAAI 2015),
    weighted. Ranges without an item are left out. None when there is no item.
    """
    if not items:
        return None
    ranges: dict[int, list[Judged]] = {}
    for item in items:
        ranges.setdefault(min(BINS - 1, int(item.p * BINS)), []).append(item)
    bins = tuple(_bin(number, ranges[number]) for number in sorted(ranges))
    whole = sum(found.weight for found in bins)
    return Reliability(bins, sum(found.weight * abs(found.mean_p - found.positive.value) for found in bins) / whole)


def _bin(number: int, items: Sequence[Judged]) -> Bin:
    weight = sum(item.weight for item in items)
    return Bin(
        low=number / BINS,
        high=(number + 1) / BINS,
        count=len(items),
        weight=weight,
        mean_p=sum(item.p * item.weight for item in items) / weight,
        positive=_weighted_share([item for item in items if item.positive], items),
    )


def thresholds(items: Sequence[Judged]) -> list[Threshold]:
    """What each possible threshold gives, from the highest to the lowest. Empty without a positive item.

    The intervals are Wilson's, with the effective number of items of Kish (Survey Sampling, 1965, section 11.7).
    """
    ordered = sorted(items, key=lambda item: -item.p)
    of_all = _Sums.of(ordered)
    of_positives = _Sums.of([item for item in ordered if item.positive])
    if not of_positives.weight:
        return []
    found: list[Threshold] = []
    above, positives = _running(ordered), _running(ordered, positive=True)
    for index, item in enumerate(ordered):
        if index + 1 < len(ordered) and ordered[index + 1].p == item.p:
            continue  # a threshold takes all items of the same p
        found.append(
            Threshold(
                threshold=item.p,
                precision=_share(positives[index], above[index]),
                recall=_share(positives[index], of_positives),
                flagged=above[index].weight / of_all.weight,
            )
        )
    return found


def for_precision(items: Sequence[Judged], wished: float) -> Threshold | None:
    """The lowest threshold whose precision is at least the wished one; None if no threshold has it."""
    return next((found for found in reversed(thresholds(items)) if found.precision.value >= wished), None)


def for_recall(items: Sequence[Judged], wished: float) -> Threshold | None:
    """The highest threshold whose recall is at least the wished one; None without a positive item."""
    return next((found for found in thresholds(items) if found.recall.value >= wished), None)


@dataclass(frozen=True)
class _Sums:
    weight: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, items: Sequence[Judged]) -> _Sums:
        return cls(sum(item.weight for item in items), sum(item.weight**2 for item in items))


def _running(items: Sequence[Judged], *, positive: bool = False) -> list[_Sums]:
    weights = [item.weight if item.positive or not positive else 0.0 for item in items]
    squares = accumulate(weight**2 for weight in weights)
    return [_Sums(*sums) for sums in zip(accumulate(weights), squares, strict=True)]


def _weighted_share(part: Sequence[Judged], whole: Sequence[Judged]) -> Interval:
    return _share(_Sums.of(part), _Sums.of(whole))


def _share(part: _Sums, whole: _Sums) -> Interval:
    effective = whole.weight**2 / whole.squares
    return share(effective * min(1.0, part.weight / whole.weight), effective)
