"""A "no" needs coverage; what was found stands."""

from __future__ import annotations

import pytest

from nightreel.domain import Answer, AnswerState, PromptKind, judge

NOES = [(PromptKind.YES_NO, "no", False), (PromptKind.TAGS, "", []), (PromptKind.NUMBER, "0", 0.0)]
FINDS = [
    (PromptKind.YES_NO, "yes", True),
    (PromptKind.TAGS, "dog", ["dog"]),
    (PromptKind.NUMBER, "3", 3.0),
    (PromptKind.CHOICE, "indoors", "indoors"),
    (PromptKind.CHOICE, "no", "no"),
    (PromptKind.CAPTION, "no", "no"),
    (PromptKind.TEXT, "0", "0"),
]


def judged(kind: PromptKind, text: str, value, *, covered_s: float, min_coverage: float = 0.8) -> Answer:
    answer = Answer(prompt_hash="h", state=AnswerState.ANSWERED, text=text, value=value, p=0.1)
    return judge(answer, kind, covered_s=covered_s, expected_s=30.0, min_coverage=min_coverage)


@pytest.mark.parametrize(("kind", "text", "value"), NOES)
def test_a_no_is_unknown_exactly_below_the_least_coverage(kind, text, value):
    states = [
        judged(kind, text, value, covered_s=tenth / 10, min_coverage=0.8).state is AnswerState.ANSWERED
        for tenth in range(301)
    ]
    assert states == [False] * 240 + [True] * 61
    unknown = judged(kind, text, value, covered_s=1.25)
    assert (unknown.text, unknown.value, unknown.p, unknown.reason) == (None, None, 0.1, "saw 1.2 of 30 s")


@pytest.mark.parametrize(("kind", "text", "value"), FINDS)
def test_what_was_found_stands_at_any_coverage(kind, text, value):
    for covered_s in (0.0, 1.0, 30.0):
        assert judged(kind, text, value, covered_s=covered_s, min_coverage=1.0).text == text


@pytest.mark.parametrize("state", [AnswerState.UNKNOWN, AnswerState.ERROR])
def test_other_answers_keep_their_reason(state):
    answer = Answer(prompt_hash="h", state=state, reason="thin margin")
    assert judge(answer, PromptKind.YES_NO, covered_s=0, expected_s=30, min_coverage=1) == answer


def test_rounding_never_makes_a_whole_video_too_little():
    parts = [0.1] * 3
    assert sum(parts) != 0.3
    answer = Answer(prompt_hash="h", state=AnswerState.ANSWERED, text="no", value=False)
    assert judge(answer, PromptKind.YES_NO, covered_s=0.3, expected_s=sum(parts), min_coverage=1) == answer
