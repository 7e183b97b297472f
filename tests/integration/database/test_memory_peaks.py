"""Memory peaks in Postgres: the largest is kept; batches that ran out of memory are remembered for a month."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures.work import Work, register
from sqlalchemy import text

from nightreel.database.memory_peaks import EXHAUSTED_DAYS, keep_peaks, known_peaks
from nightreel.domain import MemoryPeak, MemoryStage

_MODEL = "a" * 64


def _peak(**changes: Any) -> MemoryPeak:
    values = {"stage": MemoryStage.LANGUAGE, "shape": "prefix=100", "device": "NVIDIA H200", "segments": 4}
    return MemoryPeak(**{**values, "estimated_bytes": 4 << 40, "measured_bytes": 3 << 40, **changes})


def _keep(work: Work, *peaks: MemoryPeak) -> None:
    with work.database.begin() as connection:
        keep_peaks(connection, peaks, model_id=work.recipe.model_id, run_id=work.run.id)


def _known(work: Work, model: str = _MODEL) -> list[MemoryPeak]:
    with work.database.begin() as connection:
        return known_peaks(connection, model)


def test_peaks_are_read_back_unchanged(work: Work) -> None:
    peaks = [
        _peak(),
        _peak(out_of_memory=True),
        _peak(shape="prefix=200"),
        _peak(stage=MemoryStage.VISION, shape="pixel_values=9"),
    ]
    _keep(work, *reversed(peaks))
    assert _known(work) == peaks


def test_no_measurement_writes_no_row(work: Work) -> None:
    _keep(work)
    assert _known(work) == []


def test_the_largest_peak_of_a_shape_is_kept(work: Work) -> None:
    _keep(work, _peak())
    _keep(work, _peak(segments=1, measured_bytes=2))
    assert _known(work) == [_peak()]
    larger = _peak(segments=8, measured_bytes=5 << 40, estimated_bytes=8 << 40)
    _keep(work, larger)
    assert _known(work) == [larger]


def test_the_last_batch_that_ran_out_of_memory_is_kept(work: Work) -> None:
    _keep(work, _peak(out_of_memory=True))
    latest = _peak(out_of_memory=True, segments=2, measured_bytes=1 << 40)
    _keep(work, latest)
    assert _known(work) == [latest]


@pytest.mark.parametrize(("days", "counts"), [(EXHAUSTED_DAYS - 1, True), (EXHAUSTED_DAYS + 1, False)])
def test_out_of_memory_is_forgotten_after_a_month_and_a_measurement_is_not(work: Work, days: int, counts: bool) -> None:
    measured, exhausted = _peak(), _peak(out_of_memory=True)
    _keep(work, measured, exhausted)
    with work.database.begin() as connection:
        connection.execute(
            text("UPDATE nightreel.memory_peaks SET measured_at = now() - make_interval(days => :days)"),
            {"days": days},
        )
    assert _known(work) == [measured, *([exhausted] if counts else [])]


def test_each_model_has_its_own_peaks(work: Work) -> None:
    other = register(work.database, model="b" * 64)
    with work.database.begin() as connection:
        keep_peaks(connection, [_peak()], model_id=other.model_id, run_id=work.run.id)
    assert (_known(work), _known(work, "b" * 64)) == ([], [_peak()])


def test_the_view_shows_the_peak_beside_its_estimate(work: Work) -> None:
    _keep(work, _peak())
    with work.database.begin() as connection:
        row = connection.execute(text("SELECT * FROM reporting.memory")).one()
    assert (row.model, row.model_revision, row.device, row.stage) == ("tiny", "1", "NVIDIA H200", "language")
    assert (row.segments, row.measured_to_estimated, row.out_of_memory) == (4, 0.75, False)
    assert (row.run_id, row.model_hash) == (work.run.id, _MODEL)
