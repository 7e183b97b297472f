"""Confidence intervals of a share and of a total.

A total is estimated from a stratified sample: of each stratum, some items were drawn at random without replacement, and
people said which of them are positive. `estimate_total` estimates the positives of all strata together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

ALPHA = 0.05
_Distribution = Callable[[float], float]
_NORMAL = NormalDist()
_Z = _NORMAL.inv_cdf(1 - ALPHA / 2)
_STEPS = 60  # of bisection: far below one item
_FEW = 10  # positive items in a sample: below, the mid-p form misses the truth too often (8.9 % at three expected ones)


@dataclass(frozen=True)
class Interval:
    """An estimate with the limits of its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def of(self, whole: float) -> Interval:
        """The same as a share of a whole.

        >>> Interval(5, 2, 10).of(100)
        Interval(value=0.05, low=0.02, high=0.1)
        """
        return Interval(self.value / whole, self.low / whole, self.high / whole)


@dataclass(frozen=True)
class Stratum:
    """Items that are alike, some of which were drawn at random and judged.

    Args:
        size: all items. sampled: items with a decision. positive: items that the decision calls positive.

    Raises:
        ValueError: the counts contradict each other.
    """

    size: int
    sampled: int
    positive: int

    def __post_init__(self) -> None:
        if not 0 <= self.positive <= self.sampled <= self.size:
            raise ValueError(f"not 0 <= {self.positive=} <= {self.sampled=} <= {self.size=}")

    @property
    def negated(self) -> Stratum:
        return Stratum(self.size, self.sampled, self.sampled - self.positive)


def share(positive: float, sampled: float) -> Interval:
    """The share of positive items, from a simple random sample.

    The score interval of Wilson (Journal of the American Statistical Association 22, 1927, p. 209). `sampled` may be an
    effective number of items, which is not whole.

    >>> share(8, 10)
    Interval(value=0.8, low=0.490..., high=0.943...)
    >>> share(0, 0)
    Interval(value=nan, low=0.0, high=1.0)
    """
    if sampled <= 0:
        return Interval(math.nan, 0.0, 1.0)
    value = positive / sampled
    middle = (value + _Z**2 / (2 * sampled)) / (1 + _Z**2 / sampled)
    half = _Z / (1 + _Z**2 / sampled) * math.sqrt(value * (1 - value) / sampled + (_Z / (2 * sampled)) ** 2)
    return Interval(value, max(0.0, middle - half), min(1.0, middle + half))


def estimate_total(strata: Sequence[Stratum]) -> Interval:
    """Estimate how many items of all strata are positive.

    The estimate is that of stratified sampling (Cochran, Sampling Techniques, 1977, chapter 5). Positive items that
    were seen are certain; only those that were not seen are estimated. Their limits are those of a weighted sum of
    counts by gamma distributions (Fay and Feuer, Statistics in Medicine 16, 1997, p. 791), with the variance of
    sampling without replacement. From ten positive items on they have the mid-p form (Fay and Kim, Biometrical Journal
    59, 2017, p. 549), which is narrower. So they hold for rare labels too, and a stratum without a positive item still
    counts: as if the next item with the largest weight were positive.

    Returns:
        Numbers of items. The limits lie between what was seen and what is possible. A stratum of which nothing was
        drawn widens them by all of its items.
    """
    drawn = [stratum for stratum in strata if stratum.sampled]
    unknown = sum(stratum.size for stratum in strata if not stratum.sampled)
    estimate = _estimate_drawn(drawn)
    return Interval(estimate.value, estimate.low, estimate.high + unknown)


def _estimate_drawn(strata: Sequence[Stratum]) -> Interval:
    size = sum(stratum.size for stratum in strata)
    value = sum(stratum.size * stratum.positive / stratum.sampled for stratum in strata)
    if value > size / 2:  # the formula is for the rarer answer
        other = _estimate_drawn([stratum.negated for stratum in strata])
        return Interval(size - other.value, size - other.high, size - other.low)
    seen = sum(stratum.positive for stratum in strata)
    open_ = [stratum for stratum in strata if stratum.sampled < stratum.size]
    if not open_:
        return Interval(seen, seen, seen)
    weights = [
        (stratum.size - stratum.sampled) / stratum.sampled for stratum in open_
    ]  # unseen items for one seen item
    mean = sum(weight * stratum.positive for weight, stratum in zip(weights, open_, strict=True))
    variance = sum(weight * (weight + 1) * _dispersion(stratum) for weight, stratum in zip(weights, open_, strict=True))
    heaviest = max(weights)
    lower = _gamma(mean, variance)
    upper = _gamma(mean + heaviest, variance + heaviest * (heaviest + 1))
    if seen >= _FEW:
        lower = upper = _mean(lower, upper)
    most = sum(stratum.size - stratum.sampled for stratum in open_)
    low = 0.0 if _all_seen_is_likely(open_) else _invert(lower, ALPHA / 2, most)
    return Interval(seen + mean, seen + low, seen + _invert(upper, 1 - ALPHA / 2, most))


def _dispersion(stratum: Stratum) -> float:
    """The positives times the share of negatives, unbiased: a count of rare items has its own size as variance."""
    if stratum.sampled == 1:
        return stratum.positive
    return stratum.positive * (stratum.sampled - stratum.positive) / (stratum.sampled - 1)


def _gamma(mean: float, variance: float) -> _Distribution:
    """The distribution function of a gamma distribution, by the cube-root approximation.

    Wilson and Hilferty (Proceedings of the National Academy of Sciences 17, 1931, p. 684). Its error is below one per
    cent in the quantiles used here, where the degrees of freedom are at least two.
    """
    if variance <= 0:
        return lambda total: float(total >= mean)
    freedom = 2 * mean**2 / variance
    scatter = 2 / (9 * freedom)

    def below(total: float) -> float:
        return _NORMAL.cdf(((max(total, 0.0) / mean) ** (1 / 3) - (1 - scatter)) / math.sqrt(scatter))

    return below


def _mean(first: _Distribution, second: _Distribution) -> _Distribution:
    return lambda total: (first(total) + second(total)) / 2


def _invert(function: _Distribution, wanted: float, most: float) -> float:
    low, high = 0.0, float(most)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if function(middle) < wanted:
            low = middle
        else:
            high = middle
    return high


def _all_seen_is_likely(strata: Sequence[Stratum]) -> bool:
    """Whether the sample may well have found every positive item that exists: exact, by counting the ways to draw."""

    def ways(items: int, chosen: int) -> float:
        return math.lgamma(items + 1) - math.lgamma(chosen + 1) - math.lgamma(items - chosen + 1)

    chance = sum(ways(s.sampled, s.positive) - ways(s.size, s.positive) for s in strata)
    return chance >= math.log(ALPHA / 2)
