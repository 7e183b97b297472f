"""Measured peaks correct the estimate of the next batch."""

from __future__ import annotations

from typing import Any

import pytest

from nightreel.domain import MemoryPeak, MemoryStage
from nightreel.models.memory.peaks import MARGIN, Peaks

_LANGUAGE, _VISION = MemoryStage.LANGUAGE, MemoryStage.VISION


def _peak(**changes: Any) -> MemoryPeak:
    values = {"stage": _LANGUAGE, "shape": "a", "device": "gpu", "segments": 4, "estimated_bytes": 4000}
    return MemoryPeak(**{**values, "measured_bytes": 2000, **changes})


def _counted(*known: MemoryPeak, stage: MemoryStage = _LANGUAGE, shape: str = "a", estimate: int = 1000) -> int:
    return Peaks("gpu", known).batch_bytes(stage, shape, segments=1, estimate=estimate)


def test_without_a_measurement_the_estimate_is_used() -> None:
    assert _counted() == 1000


def test_a_measured_shape_counts_with_its_peak_and_a_margin() -> None:
    assert _counted(_peak()) == int(500 * MARGIN)
    assert _counted(_peak(measured_bytes=8000)) == int(2000 * MARGIN)


def test_an_unmeasured_shape_is_scaled_by_the_worst_ratio_of_peak_to_estimate() -> None:
    assert _counted(_peak(measured_bytes=8000), _peak(shape="b", measured_bytes=6000), shape="c") == 2000


def test_an_unmeasured_shape_never_counts_less_than_its_estimate() -> None:
    assert _counted(_peak(measured_bytes=10), shape="c") == 1000


@pytest.mark.parametrize("other", [{"device": "larger gpu"}, {"stage": _VISION}])
def test_measurements_of_another_device_or_stage_do_not_count(other: dict[str, Any]) -> None:
    assert _counted(_peak(measured_bytes=8000, **other)) == 1000


@pytest.mark.parametrize(("segments", "half"), [(2, 1), (3, 1), (4, 2), (5, 2), (32, 16), (33, 16)])
@pytest.mark.parametrize("free", [0.985, 1.0, 1.015])
def test_a_batch_that_ran_out_of_memory_is_halved_in_about_the_same_memory(
    segments: int, half: int, free: float
) -> None:
    room = 10 << 30
    counted = _counted(_peak(segments=segments, measured_bytes=room, out_of_memory=True))
    assert int(room * free) // counted == half


def test_running_out_of_memory_does_not_affect_other_shapes() -> None:
    assert _counted(_peak(measured_bytes=1 << 40, out_of_memory=True), shape="c") == 1000


def test_running_out_of_memory_outweighs_only_a_small_measurement() -> None:
    exhausted = _peak(measured_bytes=5000, out_of_memory=True)
    assert _counted(_peak(), exhausted) == 2000
    assert _counted(_peak(measured_bytes=12000), exhausted) == int(3000 * MARGIN)


def test_the_largest_peak_of_a_shape_is_kept_and_reported_once() -> None:
    peaks = Peaks("gpu", [_peak()])
    peaks.record(_peak(segments=1, measured_bytes=1999))
    assert peaks.take_news() == []
    larger = _peak(segments=8, measured_bytes=2001)
    peaks.record(larger)
    assert peaks.take_news() == [larger]
    assert peaks.take_news() == []
    assert peaks.batch_bytes(_LANGUAGE, "a", segments=2, estimate=4000) == int(2001 * MARGIN)
