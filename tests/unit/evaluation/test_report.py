from __future__ import annotations

import json

import pytest

from nightreel.domain import PromptKind, Verdict, VerdictState
from nightreel.evaluation.asking import Asked, Cost, Outcome
from nightreel.evaluation.labels import Label
from nightreel.evaluation.page import render_page
from nightreel.evaluation.report import make_report

_HOSTILE = "<script>alert(1)</script> & \x1b[31m {{ 7 * 7 }}"
_COST = Cost(seconds=2.0, videos=4, video_s=20.0, prompt_tokens=100, generated_tokens=0, failures={_HOSTILE: _HOSTILE})


def outcome(truth: str, said: str, *, p: float | None = None, file: str = "a.mp4", asked: str = "fire") -> Outcome:
    verdict = (
        Verdict(state=VerdictState.ANSWERED, value=said == "yes", text=said)
        if said in ("yes", "no")
        else Verdict(state=VerdictState(said), reason="why")
    )
    label = Label(file=file, prompt=asked, answer=truth, line=1)
    return Outcome(label=label, question_kind=PromptKind.YES_NO, verdict=verdict, p=p, right=said == truth)


def asked(name: str, *outcomes: Outcome) -> Asked:
    return Asked(candidate=name, outcomes=outcomes, cost=_COST)


def test_scores_count_unknown_answers_as_wrong_and_as_not_found() -> None:
    one = asked(
        "a",
        outcome("yes", "yes", p=0.9),
        outcome("yes", "unknown"),
        outcome("no", "yes", p=0.8),
        outcome("no", "no", p=0.1),
        outcome("no", "error", asked="smoke"),
    )
    every, fire, smoke = make_report([one]).candidates[0].scores
    assert (every.labels, every.unknown, every.errors, every.accuracy.value) == (5, 1, 1, pytest.approx(0.4))
    assert every.precision is not None
    assert every.recall is not None
    assert (every.precision.value, every.recall.value) == (0.5, 0.5)
    assert fire.calibration_error == pytest.approx((0.1 + 0.8 + 0.1) / 3)
    assert (smoke.precision, smoke.recall, smoke.calibration_error) == (None, None, None)


def test_candidates_are_compared_and_what_changed_for_the_worse_or_better_comes_first() -> None:
    first = asked(
        "a", outcome("no", "unknown", file="1"), outcome("yes", "no", file="2"), outcome("no", "no", file="3")
    )
    second = asked(
        "b", outcome("no", "error", file="1"), outcome("yes", "yes", file="2"), outcome("no", "no", file="3")
    )
    (difference,) = make_report([first, second]).differences
    assert [(change.file, change.better) for change in difference.changes] == [("2", "b"), ("1", "")]
    assert (difference.comparison.only_first, difference.comparison.only_second) == (0, 1)


def test_json_has_no_number_that_json_lacks() -> None:
    report = make_report([asked("a", outcome("yes", "error"))])
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["candidates"][0]["scores"][0]["labels"] == 1


def test_a_page_shows_hostile_texts_as_texts() -> None:
    first = asked(_HOSTILE, outcome("yes", "no", file=_HOSTILE, asked=_HOSTILE))
    second = asked("b", outcome("yes", "yes", file=_HOSTILE, asked=_HOSTILE))
    page = render_page(make_report([first, second]))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in page


def test_nothing_is_not_reported() -> None:
    with pytest.raises(ValueError, match="needs candidates"):
        make_report([asked("a")])
