"""Plots as SVG: what their templates draw, in units of the picture. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nightreel.review.calibrating import BINS, Calibrated
from nightreel.statistics.calibration import Bin

WIDTH, HEIGHT, MARGIN = 560.0, 300.0, 36.0
_INNER_WIDTH, _INNER_HEIGHT = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of the answers that have a probability in a range."""

    x: float
    y: float
    width: float
    height: float
    answers: int


@dataclass(frozen=True, slots=True)
class Point:
    """A range of the reliability table: the share of right labels, with the limits of its interval."""

    x: float
    y: float
    low_y: float
    high_y: float
    bin: Bin


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationPlot:
    """Right labels by probability, over a histogram of all answers on show.

    Args:
        no_below, yes_from: where the doubt begins and ends. ticks: (x or y in the picture, the value) of both axes.
    """

    bars: Sequence[Bar]
    points: Sequence[Point]
    no_below: float
    yes_from: float
    x_ticks: Sequence[tuple[float, float]]
    y_ticks: Sequence[tuple[float, float]]


def calibration_plot(found: Calibrated, *, no_below: float, yes_from: float) -> CalibrationPlot:
    """The plot for a band of doubt, which may differ from the one in force."""
    most = max(found.answers, default=0)
    step = _INNER_WIDTH / BINS
    bars = [
        Bar(MARGIN + index * step, _y(count / most), step - 1, _INNER_HEIGHT * count / most, count)
        for index, count in enumerate(found.answers)
        if count
    ]
    points = [
        Point(_x(one.mean_p), _y(one.positive.value), _y(one.positive.low), _y(one.positive.high), one)
        for one in (found.table.bins if found.table else ())
    ]
    marks = [tick / 5 for tick in range(6)]
    return CalibrationPlot(
        bars=bars,
        points=points,
        no_below=_x(no_below),
        yes_from=_x(yes_from),
        x_ticks=[(_x(mark), mark) for mark in marks],
        y_ticks=[(_y(mark), mark) for mark in marks],
    )


def _x(share: float) -> float:
    return MARGIN + share * _INNER_WIDTH


def _y(share: float) -> float:
    return HEIGHT - MARGIN - share * _INNER_HEIGHT
