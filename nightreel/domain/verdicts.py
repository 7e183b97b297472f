"""Verdicts: what a policy makes of answers. `judging` makes those of segments, `rolling` those of videos."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class VerdictState(StrEnum):
    ANSWERED = "answered"
    UNKNOWN = "unknown"
    ERROR = "error"


UNSURE = "unknown"
"""The label of a tag that is neither "yes" nor "no"."""
Value = bool | float | str | list[str] | dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an answer means under a policy. A failure never becomes a "no".

    Args:
        value: bool, float, str, list of str, or the fields of an object; None unless answered.
        text: the same as text: "yes", the choice, tags and keywords joined by ", ", the caption, an object as JSON;
            None unless answered.
        flagged: an analyst should see it.
        severity: of the worst flag, 1 to 4; None if nothing is flagged, or the policy gives none.
        labels: tags: "yes" or "unknown" for each tag; a tag that is "no" is left out.
        reason: why it is unknown or an error.
        needs_review: a person should look at it.
        look_again: a second look at the segment is due. Until then, a "no" is unknown.
        start_s, end_s: after a second look, the part of the segment that is flagged, or else the part of the answer.
    """

    state: VerdictState
    value: Value | None = None
    text: str | None = None
    flagged: bool = False
    severity: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    needs_review: bool = False
    look_again: bool = False
    start_s: float | None = None
    end_s: float | None = None

    def __post_init__(self) -> None:
        answered = self.state is VerdictState.ANSWERED
        assert answered == (self.value is not None), self
        assert answered == (self.reason is None), self

    def says(self, answer: str) -> bool:
        """Whether it is this answer: what a condition of a follow-up asks."""
        return answer in self.value if isinstance(self.value, list) else self.text == answer


_TOLERANCE_S = 1e-6  # sums of seconds are rounded


def too_little(covered_s: float, expected_s: float, coverage: float) -> bool:
    """Whether less than this share was seen. Seconds that are not a number are too little."""
    return not covered_s + _TOLERANCE_S >= coverage * expected_s


def saw(covered_s: float, expected_s: float) -> str:
    """The coverage in words. The seen seconds are rounded down, so that a part never looks like the whole.

    >>> saw(1.2, 6.2), saw(90, 120), saw(6.19, 6.2)
    ('saw 1.2 of 6.2 s', 'saw 90 of 120 s', 'saw 6.1 of 6.2 s')
    """
    if not (math.isfinite(covered_s) and math.isfinite(expected_s)):
        return "it is not known how much was seen"
    seen = math.floor(covered_s * 10 + 1e-6) / 10
    return f"saw {seen:.10g} of {round(expected_s, 1):.10g} s"
