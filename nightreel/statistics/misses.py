"""What a machine missed: prevalence and recall, from an audit sample.

A person sees everything that the machine shows: what it flags, and what it is unsure of. Of what it calls "no", a
person sees a random sample, which is stratified by the machine's probability. Both together say how many positive items
there are, and how many of them the machine showed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nightreel.statistics.intervals import Interval, Stratum, estimate_total


@dataclass(frozen=True)
class Misses:
    """What the audit of one prompt says.

    Args:
        missed: positive items that the machine calls "no", as a number of items.
        prevalence: the share of positive items among all. recall: the share of positive items that the machine shows;
            None when no positive item is known.
    """

    missed: Interval
    prevalence: Interval
    recall: Interval | None


def estimate_misses(shown: Sequence[Stratum], passed: Sequence[Stratum]) -> Misses:
    """Estimate the misses of one prompt.

    Args:
        shown: items that the machine flags or is unsure of; not all need a decision, but those that have one are taken
            for a random sample. passed: the strata of items that the machine calls "no".

    Raises:
        ValueError: there is no item at all.
    """
    size = sum(stratum.size for stratum in (*shown, *passed))
    if size == 0:
        raise ValueError("an estimate needs items")
    missed, found = estimate_total(passed), estimate_total(shown)
    return Misses(
        missed=missed,
        prevalence=estimate_total([*shown, *passed]).of(size),
        recall=_recall(found, missed) if found.value + missed.value else None,
    )


def _recall(found: Interval, missed: Interval) -> Interval:
    """found / (found + missed). Its limits are those of the ratio missed / found.

    The ratio's limits come from those of its two parts (Donner and Zou, Statistical Methods in Medical Research 21,
    2012, p. 347).
    """
    if found.value == 0:
        return Interval(0.0, 0.0, found.high / (found.high + missed.low) if found.high else 0.0)
    return Interval(
        found.value / (found.value + missed.value),
        1 / (1 + _ratio_limit(missed, missed.high, found, found.low, upper=True)),
        1 / (1 + _ratio_limit(missed, missed.low, found, found.high, upper=False)),
    )


def _ratio_limit(top: Interval, top_limit: float, bottom: Interval, bottom_limit: float, *, upper: bool) -> float:
    divisor = bottom_limit * (2 * bottom.value - bottom_limit)
    product = top.value * bottom.value
    root = math.sqrt(max(0.0, product**2 - top_limit * (2 * top.value - top_limit) * divisor))
    if abs(divisor) < 1e-12 * bottom.value**2:
        return math.inf if upper else top_limit * (2 * top.value - top_limit) / (2 * product) if product else 0.0
    return max(0.0, (product + root if upper else product - root) / divisor)
