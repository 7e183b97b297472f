"""Confidence intervals hold: simulated audits with known truth."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from nightreel.statistics.intervals import Interval, Stratum, estimate_total, share
from nightreel.statistics.misses import estimate_misses
from nightreel.statistics.sampling import allocate

DRAWS = 1000
SIZES = [20_000, 12_000, 6_000, 1_600, 400]  # as the bounds of the strata make them


def coverage(sizes: list[int], positives: list[int], sample: int) -> float:
    """The share of audits whose interval holds the number of positive items."""
    random = np.random.default_rng(len(sizes) + sample)
    drawn = allocate(sizes, sample)
    seen = random.hypergeometric(positives, np.subtract(sizes, positives), drawn, size=(DRAWS, len(sizes)))
    estimate = cache(lambda *found: estimate_total([*map(Stratum, sizes, drawn, found)]))
    return float(np.mean([_holds(estimate(*map(int, found)), sum(positives)) for found in seen]))


def _holds(interval: Interval, truth: float) -> bool:
    return interval.low - 1e-6 <= truth <= interval.high + 1e-6


@pytest.mark.parametrize(
    ("sizes", "positives", "sample"),
    [
        ([20_000], [0], 300),
        ([20_000], [6], 300),
        ([20_000], [40], 300),
        ([20_000], [200], 300),
        ([120], [5], 60),
        (SIZES, [0, 0, 0, 2, 10], 400),
        (SIZES, [10, 10, 10, 10, 10], 400),
        (SIZES, [60, 0, 0, 0, 0], 300),  # misses where the model is sure
        ([10_000] * 10, [0, 0, 0, 0, 0, 10, 30, 100, 500, 1000], 1000),
    ],
)
def test_intervals_of_rare_labels_hold(sizes: list[int], positives: list[int], sample: int) -> None:
    assert coverage(sizes, positives, sample) >= 0.93


@pytest.mark.parametrize(
    ("sizes", "positives", "sample"),
    [
        ([20_000], [1000], 400),
        ([20_000], [4000], 500),
        ([20_000], [19_000], 500),
        ([1000], [600], 100),
        ([400], [100], 200),
        (SIZES, [1000, 900, 800, 400, 150], 500),
    ],
)
def test_intervals_of_frequent_labels_are_not_too_wide(sizes: list[int], positives: list[int], sample: int) -> None:
    """Twenty positive items or more are expected in the sample."""
    drawn = allocate(sizes, sample)
    assert sum(n * p / s for n, p, s in zip(drawn, positives, sizes, strict=True)) >= 20
    assert 0.93 <= coverage(sizes, positives, sample) <= 0.97


@pytest.mark.parametrize(
    ("shown", "shown_positive", "judged", "passed_positive"),
    [
        (200, 150, 200, [2, 2, 4, 8, 12]),  # each shown item was judged
        (200, 150, 60, [2, 2, 4, 8, 12]),
        (2000, 1500, 300, [100, 100, 100, 100, 100]),
        (30, 3, 30, [0, 0, 1, 1, 1]),
    ],
)
def test_intervals_of_recall_and_prevalence_hold(
    shown: int, shown_positive: int, judged: int, passed_positive: list[int]
) -> None:
    random = np.random.default_rng(shown + judged)
    drawn = allocate(SIZES, 500)
    truth = shown_positive / (shown_positive + sum(passed_positive))
    prevalence = (shown_positive + sum(passed_positive)) / (shown + sum(SIZES))
    found = random.hypergeometric(shown_positive, shown - shown_positive, judged, size=DRAWS)
    missed = random.hypergeometric(
        passed_positive, np.subtract(SIZES, passed_positive), drawn, size=(DRAWS, len(SIZES))
    )
    holds = np.zeros(2)
    for positive, seen in zip(map(int, found), missed, strict=True):
        passed = [Stratum(size, n, int(x)) for size, n, x in zip(SIZES, drawn, seen, strict=True)]
        misses = estimate_misses([Stratum(shown, judged, positive)], passed)
        recall = misses.recall or Interval(math.nan, 0, 1)
        holds += [_holds(recall, truth), _holds(misses.prevalence, prevalence)]
    assert min(holds / DRAWS) >= 0.93


def test_a_census_leaves_nothing_open() -> None:
    assert estimate_total([Stratum(100, 100, 3)]) == Interval(3, 3, 3)


def test_a_sample_without_a_positive_item_still_leaves_room_for_some() -> None:
    """The rule of three: 3.7 positive items in 300 are the two-sided limit, here for 20,000."""
    estimate = estimate_total([Stratum(20_000, 300, 0)])
    assert estimate.value == estimate.low == 0
    assert 150 <= estimate.high <= 3.7 / 300 * 20_000


def test_a_stratum_of_which_nothing_was_drawn_is_wholly_open() -> None:
    estimate = estimate_total([Stratum(1000, 100, 0), Stratum(50, 0, 0)])
    assert estimate.high >= 50 + estimate_total([Stratum(1000, 100, 0)]).high


def test_positives_and_negatives_are_estimated_alike() -> None:
    rare, frequent = estimate_total([Stratum(1000, 100, 7)]), estimate_total([Stratum(1000, 100, 93)])
    assert rare.low == pytest.approx(1000 - frequent.high)
    assert rare.high == pytest.approx(1000 - frequent.low)


def test_nothing_positive_known_leaves_recall_unsaid() -> None:
    assert estimate_misses([Stratum(0, 0, 0)], [Stratum(100, 100, 0)]).recall is None


def test_no_items_are_refused() -> None:
    with pytest.raises(ValueError, match="needs items"):
        estimate_misses([], [Stratum(0, 0, 0)])


def test_counts_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match=r"self\.positive=3"):
        Stratum(10, 2, 3)


def test_shares_stay_shares() -> None:
    assert share(0, 5).low == 0
    assert share(5, 5).high == 1
