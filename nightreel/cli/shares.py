"""Shares with their confidence intervals, as tables show them."""

from __future__ import annotations

import math

from nightreel.statistics.intervals import Interval

_WHOLE = 9.95  # per cent, from which decimals say nothing


def share_cell(interval: Interval | None) -> str:
    """A share with its interval in per cent; empty if there is none.

    >>> share_cell(Interval(0.9, 0.76, 0.97))
    '90 % (76-97)'
    >>> share_cell(Interval(0.0074, 0.0046, 0.029))
    '0.74 % (0.46-2.9)'
    """
    if interval is None or math.isnan(interval.value):
        return ""
    return f"{_per_cent(interval.value)} % ({_per_cent(interval.low)}-{_per_cent(interval.high)})"


def _per_cent(value: float) -> str:
    per_cent = 100 * value
    return f"{per_cent:.0f}" if per_cent >= _WHOLE else f"{per_cent:.2g}"
