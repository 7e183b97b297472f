from __future__ import annotations

import math

import numpy as np
import pytest

from nightreel.statistics.calibration import Judged, for_precision, for_recall, reliability, thresholds


def drawn(count: int, *, honest: bool) -> list[Judged]:
    """Items whose p is true, or whose p is the root of the true one."""
    random = np.random.default_rng(1)
    p = random.uniform(size=count)
    positive = random.uniform(size=count) < (p if honest else p**2)
    return [Judged(float(a), bool(b)) for a, b in zip(p, positive, strict=True)]


def test_true_probabilities_have_a_small_calibration_error() -> None:
    found = reliability(drawn(4000, honest=True))
    assert found is not None
    assert found.error < 0.02
    assert sum(bin_.count for bin_ in found.bins) == 4000
    assert all(bin_.low <= bin_.mean_p <= bin_.high for bin_ in found.bins)


def test_proud_probabilities_have_a_large_calibration_error() -> None:
    found = reliability(drawn(4000, honest=False))
    assert found is not None
    assert found.error == pytest.approx(1 / 2 - 1 / 3, abs=0.02)


@pytest.mark.parametrize(
    ("pairs", "error"),
    [
        ([(1.0, True), (1.0, False)], 0.5),
        ([(1.0, True), (0.0, False), (0.05, False)], pytest.approx(0.05 / 3)),
        ([(0.75, True), (0.75, True), (0.75, True), (0.75, False)], 0.0),
        ([(0.9, False), (0.0, False)], 0.45),
    ],
)
def test_a_model_that_is_always_sure_and_half_the_time_wrong_is_not_calibrated(
    pairs: list[tuple[float, bool]], error: float
) -> None:
    found = reliability([Judged(p, positive) for p, positive in pairs])
    assert found is not None
    assert found.error == error


def test_items_count_by_their_weight() -> None:
    """Each item that was drawn stands for ten, so ten times as many equal items give the same table."""
    weighted = [Judged(0.2, False, 10.0), Judged(0.9, True)]
    copied = [Judged(0.2, False)] * 10 + [Judged(0.9, True)]
    one, other = reliability(weighted), reliability(copied)
    assert one is not None
    assert other is not None
    assert one.error == pytest.approx(other.error)
    assert [t.precision.value for t in thresholds(weighted)] == [t.precision.value for t in thresholds(copied)]


def test_few_weighted_items_give_wide_intervals() -> None:
    few = [Judged(0.9, True, 100.0), Judged(0.8, False, 100.0)]
    many = [Judged(0.9, True)] * 100 + [Judged(0.8, False)] * 100
    wide, narrow = thresholds(few)[-1].precision, thresholds(many)[-1].precision
    assert wide.value == narrow.value
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_a_threshold_takes_all_items_of_the_same_p() -> None:
    items = [Judged(0.7, True), Judged(0.7, False), Judged(0.2, False)]
    assert [(t.threshold, t.precision.value, t.recall.value) for t in thresholds(items)] == [
        (0.7, 0.5, 1.0),
        (0.2, pytest.approx(1 / 3), 1.0),
    ]


def test_recall_rises_as_the_threshold_falls() -> None:
    recalls = [found.recall.value for found in thresholds(drawn(500, honest=True))]
    assert recalls == sorted(recalls)
    assert recalls[-1] == pytest.approx(1)


def test_thresholds_for_wished_precision_and_recall() -> None:
    items = drawn(4000, honest=True)
    precise, complete = for_precision(items, 0.9), for_recall(items, 0.9)
    assert precise is not None
    assert complete is not None
    assert precise.precision.value >= 0.9
    assert precise.threshold == pytest.approx(0.8, abs=0.05)  # the mean of p above it is 0.9
    assert complete.recall.value >= 0.9
    assert complete.threshold == pytest.approx(math.sqrt(0.1), abs=0.05)  # a tenth of the positives lies below it


def test_without_positive_items_no_threshold_is_offered() -> None:
    items = [Judged(0.3, False)]
    assert thresholds(items) == []
    assert for_precision(items, 0.5) is for_recall(items, 0.5) is None
    assert reliability([]) is None


def test_a_precision_out_of_reach_is_not_offered() -> None:
    assert for_precision([Judged(0.9, False), Judged(0.3, True)], 0.9) is None


@pytest.mark.parametrize(("p", "weight"), [(1.2, 1.0), (math.nan, 1.0), (0.5, 0.0), (0.5, math.inf)])
def test_impossible_items_are_refused(p: float, weight: float) -> None:
    with pytest.raises(ValueError, match="not a"):
        Judged(p, True, weight)
