from __future__ import annotations

import pytest

from nightreel.domain import PromptKind, Question, Verdict, VerdictState
from nightreel.domain.verdicts import Value
from nightreel.evaluation.grading import check_answer, is_right


def question(kind: PromptKind, *choices: str) -> Question:
    return Question(kind=kind, text="What?", choices=choices)


def answered(value: Value) -> Verdict:
    text = ", ".join(value) if isinstance(value, list) else {True: "yes", False: "no"}.get(value, str(value))  # type: ignore[call-overload]
    return Verdict(state=VerdictState.ANSWERED, value=value, text=text)


@pytest.mark.parametrize(
    ("kind", "value", "answer", "right"),
    [
        (PromptKind.YES_NO, True, "Yes", True),
        (PromptKind.YES_NO, False, "yes", False),
        (PromptKind.NUMBER, 3.0, "three", True),
        (PromptKind.NUMBER, 3.0, "4", False),
        (PromptKind.CHOICE, "studio", "Studio", True),
        (PromptKind.TAGS, ["news", "sports"], "Sports, news", True),
        (PromptKind.TAGS, [], "none", True),
        (PromptKind.TAGS, ["news"], "news, sports", False),
        (PromptKind.TEXT, "A road trip to L.A.", "a road trip", True),
        (PromptKind.TEXT, "A broad trip", "a road trip", False),
        (PromptKind.TEXT, "Un café", "cafe", True),
        (PromptKind.TEXT, "A yellow hoodie", "mustard | yellow (or orange)", True),
        (PromptKind.TEXT, "Anything", "(a remark alone)", False),
    ],
)
def test_an_answer_is_right_if_it_says_the_same(kind: PromptKind, value: Value, answer: str, right: bool) -> None:
    assert is_right(question(kind, "news", "sports", "studio"), answered(value), answer) is right


@pytest.mark.parametrize("state", [VerdictState.UNKNOWN, VerdictState.ERROR])
def test_unknown_and_errors_are_never_right(state: VerdictState) -> None:
    verdict = Verdict(state=state, reason="saw 1 of 3 s")
    assert not is_right(question(PromptKind.YES_NO), verdict, "no")
    assert not is_right(question(PromptKind.TEXT), verdict, "saw")


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (PromptKind.YES_NO, "maybe"),
        (PromptKind.NUMBER, "many"),
        (PromptKind.CHOICE, "kitchen"),
        (PromptKind.TAGS, "news, weather"),
    ],
)
def test_an_answer_that_cannot_be_given_is_refused(kind: PromptKind, answer: str) -> None:
    assert answer in (check_answer(question(kind, "news", "sports"), answer) or "")


@pytest.mark.parametrize(
    ("kind", "answer"), [(PromptKind.YES_NO, "No."), (PromptKind.NUMBER, "two"), (PromptKind.TAGS, "none")]
)
def test_an_answer_that_can_be_given_is_taken(kind: PromptKind, answer: str) -> None:
    assert check_answer(question(kind, "news"), answer) is None
