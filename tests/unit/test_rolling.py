"""What the verdicts on segments say about their video."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightreel.domain import (
    Answer,
    Band,
    Policy,
    PromptKind,
    Question,
    RollUp,
    SegmentVerdict,
    Verdict,
    VerdictState,
    judge,
    roll_up,
)

YES_NO = Question(kind=PromptKind.YES_NO, text="Is it?")
TAGS = Question(kind=PromptKind.TAGS, text="Is it", choices=("gun", "dog"))
CHOICE = Question(kind=PromptKind.CHOICE, text="Where?", choices=("in", "out"))
NUMBER = Question(kind=PromptKind.NUMBER, text="How many?")
CAPTION = Question(kind=PromptKind.CAPTION, text="Describe.")
FLAG = Policy(flags=("yes",), severity=3)


def said(value) -> Verdict:
    if isinstance(value, Verdict):
        return value
    if value is None:
        return Verdict(state=VerdictState.UNKNOWN, reason="in doubt")
    if isinstance(value, list):
        labels = dict.fromkeys(value, "yes")
        return Verdict(state=VerdictState.ANSWERED, value=value, text=", ".join(value), labels=labels)
    text = (
        {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value:g}" if value != str(value) else value
    )
    return Verdict(state=VerdictState.ANSWERED, value=value, text=text, flagged=value is True)


def rolled(question: Question, policy: Policy, *values, scores=None, **more):
    segments = [
        SegmentVerdict(index * 30.0, index * 30.0 + 30.0, said(value), scores[index] if scores else None)
        for index, value in enumerate(values)
    ]
    seconds = 30.0 * len(values)
    return roll_up(question, policy, segments, **{"missing": 0, "covered_s": seconds, "expected_s": seconds, **more})


@pytest.mark.parametrize(
    ("how", "values", "text"),
    [
        ("any", (False, True, False), "yes"),
        ("any", (False, False), "no"),
        ("any", (True, None), "yes"),
        ("all", (True, True), "yes"),
        ("all", (True, False), "no"),
        ("all", (True, None), None),
        ("share 0.5", (True, False), "yes"),
        ("share 0.6", (True, False), "no"),
        ("share 0.6", (True, None), None),
        ("longest 60", (True, True, False), "yes"),
        ("longest 60", (True, False, True), "no"),
    ],
)
def test_a_yes_of_a_video_and_its_flag_follow_the_roll_up(how, values, text):
    found = rolled(YES_NO, replace(FLAG, roll_up=RollUp.parse(how)), *values)
    assert found.verdict.text == text
    assert (found.verdict.flagged, found.verdict.severity) == ((True, 3) if text == "yes" else (False, None))
    assert found.verdict.needs_review == (text != "no")


@pytest.mark.parametrize(("how", "number"), [(None, 5), ("max", 5), ("mean", 3), ("first", 2), ("mode", 2)])
def test_numbers_roll_up(how, number):
    policy = Policy(roll_up=RollUp.parse(how) if how else None)
    assert rolled(NUMBER, policy, 2.0, 5.0, 2.0).verdict.value == number


def test_choices_and_captions_roll_up():
    assert rolled(CHOICE, Policy(), "in", "out", "out").verdict.text == "out"
    assert rolled(CHOICE, Policy(roll_up=RollUp.parse("first")), "in", "out", "out").verdict.text == "in"
    assert rolled(CAPTION, Policy(), "a dog", "runs").verdict.text == "a dog runs"


def test_tags_roll_up_one_by_one():
    found = rolled(TAGS, Policy(flags=("gun",)), ["dog"], ["gun"], [])
    assert (found.verdict.text, found.verdict.flagged) == ("gun, dog", True)
    found = rolled(TAGS, Policy(flags=("gun",)), ["dog"], None)
    assert (found.verdict.text, found.verdict.labels) == ("dog", {"gun": "unknown", "dog": "yes"})
    assert found.verdict.needs_review


@given(
    st.lists(st.tuples(*[st.sampled_from([0.1, 0.5, 0.9, math.nan])] * 3), min_size=1, max_size=4),
    st.sampled_from(["any", "all", "share 0.5", "longest 40"]).map(RollUp.parse),
)
def test_another_tag_never_changes_the_label_of_a_tag_of_a_video(measured, how):
    policy = Policy(band=Band(0.4, 0.6), roll_up=how)
    labels = []
    for names in (("gun", "dog"), ("gun", "dog", "cat")):
        question = replace(TAGS, choices=names)
        verdicts = [
            judge(question, Answer(question_hash="q", scores=dict(zip(names, scores, strict=False))), policy)
            for scores in measured
        ]
        found = rolled(question, policy, *verdicts)
        labels.append({tag: found.verdict.labels.get(tag, "no") for tag in ("gun", "dog")})
    assert labels[0] == labels[1]


answers = {
    YES_NO: st.sampled_from([True, False]),
    TAGS: st.sampled_from([[], ["gun"]]),
    NUMBER: st.sampled_from([0.0, 2.0]),
}
hows = {
    YES_NO: ["any", "all", "share 0.5", "longest 40"],
    TAGS: ["any", "all", "share 0.5", "longest 40"],
    NUMBER: ["max", "mean", "first", "mode"],
}


@given(
    st.sampled_from([YES_NO, TAGS, NUMBER]).flatmap(
        lambda one: st.tuples(
            st.just(one),
            st.lists(st.one_of(st.none(), answers[one]), min_size=1, max_size=4),
            st.sampled_from(hows[one]).map(RollUp.parse),
        )
    ),
    st.integers(0, 1),
    st.sampled_from([1.0, 0.5, None]),
)
def test_a_video_that_was_not_wholly_answered_is_never_a_no(what, missing, seen):
    question, values, how = what
    seconds = 30.0 * len(values)
    expected_s = None if seen is None else seconds / seen
    found = rolled(question, Policy(roll_up=how), *values, missing=missing, expected_s=expected_s)
    if missing or None in values or seen != 1.0:
        assert found.verdict.value not in (False, [], 0.0)


@pytest.mark.parametrize("how", ["any", "all", "share 0.5", "longest 5"])
def test_a_video_without_segments_is_unknown(how):
    found = rolled(YES_NO, Policy(roll_up=RollUp.parse(how), coverage=0, flags=("yes",)))
    assert (found.verdict.text, found.verdict.flagged, found.verdict.needs_review) == (None, False, True)


@pytest.mark.parametrize(
    ("how", "start_s", "end_s", "whole_s"), [("longest 5", 3.2, 8.2, 100.0), ("share 0.07", 0.0, 7.0, 100.0)]
)
def test_rounding_never_makes_a_stretch_or_a_share_too_short(how, start_s, end_s, whole_s):
    one = SegmentVerdict(start_s, end_s, said(True))
    policy = Policy(roll_up=RollUp.parse(how))
    assert roll_up(YES_NO, policy, [one], missing=0, covered_s=whole_s, expected_s=whole_s).verdict.text == "yes"


def test_a_video_of_unknown_length_is_unknown_by_name():
    assert rolled(YES_NO, Policy(), False, expected_s=None).verdict.reason == "it is not known how much was seen"
    assert rolled(YES_NO, Policy(coverage=0), False, expected_s=None).verdict.text == "no"


def test_max_p_is_a_probability_of_the_answer_that_is_shown():
    scores = [{"yes": 0.6, "no": 0.4}, {"yes": 0.1, "no": 0.9}]
    assert rolled(YES_NO, Policy(), True, False, scores=scores).max_p == 0.6
    assert rolled(YES_NO, Policy(), False, False, scores=scores).max_p is None
    choices = [{"in": 0.8, "out": 0.2}, {"in": 0.3, "out": 0.7}, {"in": 0.4, "out": 0.6}]
    assert rolled(CHOICE, Policy(), "in", "out", "out", scores=choices).max_p == 0.7
    assert rolled(NUMBER, Policy(), 2.0, scores=[None]).max_p is None
