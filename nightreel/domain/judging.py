"""Judge an answer by how much of the video was seen: a "no" needs coverage, whatever was found stands.

`nightreel ask` calls this. The views of schema `reporting` judge stored answers by the same rule (sql/views); a test
compares the two.
"""

from __future__ import annotations

import math
from dataclasses import replace

from nightreel.domain.prompts import Answer, AnswerState, PromptKind

MIN_COVERAGE = 0.8
"""Least share of a segment or video that must be seen for a "no", by default. One bad frame of eight sampled ones costs
0.125 or a little more, because frames are not exactly where the plan asks for them; two cost about 0.25."""

_TOLERANCE_S = 1e-6  # sums of seconds are rounded


def judge(answer: Answer, kind: PromptKind, *, covered_s: float, expected_s: float, min_coverage: float) -> Answer:
    """The answer; or unknown, if it is a "no" and too little was seen."""
    if not is_no(answer, kind) or not too_little(covered_s, expected_s, min_coverage):
        return answer
    return replace(answer, state=AnswerState.UNKNOWN, text=None, value=None, reason=saw(covered_s, expected_s))


def is_no(answer: Answer, kind: PromptKind) -> bool:
    """Whether the answer says that something does not occur: "no", no tag, or the number 0."""
    match kind:
        case PromptKind.YES_NO:
            return answer.value is False
        case PromptKind.TAGS:
            return answer.value == []
        case PromptKind.NUMBER:
            return answer.value == 0
    return False


def too_little(covered_s: float, expected_s: float, min_coverage: float) -> bool:
    return covered_s + _TOLERANCE_S < min_coverage * expected_s


def saw(covered_s: float, expected_s: float) -> str:
    """The coverage in words. The seen seconds are rounded down, so that a part never looks like the whole.

    >>> saw(1.2, 6.2), saw(90, 120), saw(6.19, 6.2)
    ('saw 1.2 of 6.2 s', 'saw 90 of 120 s', 'saw 6.1 of 6.2 s')
    """
    seen = math.floor(covered_s * 10 + 1e-6) / 10
    return f"saw {seen:.10g} of {round(expected_s, 1):.10g} s"
