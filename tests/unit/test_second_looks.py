"""The answer of a second look: "yes" where one window says so, "no" only where all do."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightreel.domain import (
    Answer,
    AnswerState,
    Band,
    LookAgain,
    Policy,
    PromptKind,
    Question,
    Verdict,
    VerdictState,
    Window,
    combined,
    judge,
    second_look_is_due,
)
from nightreel.domain.prompts import Prompt, PromptSet

YES_NO = Question(kind=PromptKind.YES_NO, text="Is it?")
TAGS = Question(kind=PromptKind.TAGS, text="What?", choices=("gun", "fire"))
LOOK = LookAgain(from_p=0.2, plan="fps:2:16", window_s=5)
ORDER = {"no": 0, "unknown": 1, "yes": 2}
shares = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
bands = st.tuples(shares, shares).map(lambda pair: Band(*sorted(pair)))


def yes(p: float, **more) -> Answer:
    seen = {"covered_s": 5.0, "expected_s": 5.0}
    return Answer(question_hash=YES_NO.hash, scores={"yes": p, "no": 1 - p}, **{"mass": 0.9} | seen | more)


def tags(gun: float, fire: float, **more) -> Answer:
    seen = {"covered_s": 5.0, "expected_s": 5.0}
    mass = {"gun": 0.9, "fire": 0.8}
    return Answer(question_hash=TAGS.hash, scores={"gun": gun, "fire": fire}, **{"mass": mass} | seen | more)


def look(question: Question, *answers: Answer) -> Answer:
    windows = [
        Window(start_s=5.0 * place, end_s=5.0 * place + 5, feature_key=str(place), answer=answer)
        for place, answer in enumerate(answers)
    ]
    return combined(question, LOOK, windows, expected_s=5.0 * len(answers))


def side(verdict: Verdict, tag: str | None = None) -> str:
    if tag is not None:
        return verdict.labels.get(tag, "no")
    return verdict.text or "unknown"


@st.composite
def measured(draw, question: Question) -> Answer:
    """Of one window: scored, with bounds, not finite, or not measured."""
    form = draw(st.sampled_from(["scored", "scored", "bounded", "broken", "unmeasured"]))
    pair = draw(shares), draw(shares)
    answer = yes(pair[0]) if question is YES_NO else tags(*pair)
    if form == "unmeasured":
        return replace(answer, state=AnswerState.UNMEASURED, scores=None, mass=None, reason="refused")
    if form == "bounded":
        limits = {name: (p * draw(shares), p + (1 - p) * draw(shares)) for name, p in answer.scores.items()}
        return replace(answer, bounds=limits)
    if form == "broken":
        name = "yes" if question is YES_NO else "gun"
        return replace(answer, scores=answer.scores | {name: math.nan})
    return answer


@given(st.lists(measured(YES_NO), min_size=1, max_size=5), bands)
def test_yes_if_one_window_says_so_and_no_only_if_all_do(windows, band):
    policy = Policy(band=band, look_again=LOOK)
    each = [ORDER[side(judge(YES_NO, answer, policy))] for answer in windows]
    plain = [ORDER[side(judge(YES_NO, answer, replace(policy, look_again=None)))] for answer in windows]
    assert all(one >= other or one == 1 for one, other in zip(each, plain, strict=True))
    found = side(judge(YES_NO, look(YES_NO, *windows), policy))
    if 2 in plain:
        assert found == "yes"
    elif max(plain) == 0:
        assert found == "no"
    else:
        assert found != "no"


@given(st.lists(measured(TAGS), min_size=1, max_size=5), bands, bands)
def test_each_tag_is_judged_over_its_own_windows(windows, band, gun):
    policy = Policy(band=band, bands=(("gun", gun),), look_again=LOOK)
    verdict = judge(TAGS, look(TAGS, *windows), policy)
    for tag in TAGS.choices:
        plain = [side(judge(TAGS, answer, replace(policy, look_again=None)), tag) for answer in windows]
        if "yes" in plain:
            assert side(verdict, tag) == "yes"
        elif set(plain) != {"no"}:
            assert side(verdict, tag) == "unknown"
        else:
            assert side(verdict, tag) == "no"


def test_the_time_range_is_that_of_the_windows_with_the_flag():
    policy = Policy(band=Band(0.5, 0.5), flags=("yes",), look_again=LOOK)
    verdict = judge(YES_NO, look(YES_NO, yes(0.1), yes(0.9), yes(0.4), yes(0.6), yes(0.1)), policy)
    assert (verdict.text, verdict.start_s, verdict.end_s) == ("yes", 5.0, 20.0)
    no = judge(YES_NO, look(YES_NO, yes(0.1), yes(0.2)), policy)
    assert (no.text, no.start_s, no.end_s, no.look_again) == ("no", None, None, False)
    tagged = Policy(flags=("gun",), look_again=LOOK)
    verdict = judge(TAGS, look(TAGS, tags(0.1, 0.9), tags(0.9, 0.1)), tagged)
    assert (verdict.value, verdict.start_s, verdict.end_s) == (["gun", "fire"], 5.0, 10.0)


def test_a_no_that_reaches_the_second_look_is_unknown_until_it_is_done():
    policy = Policy(look_again=LOOK)
    seen = {"covered_s": 30.0, "expected_s": 30.0}
    said = [judge(YES_NO, yes(p, **seen), policy) for p in (0.19, 0.2, 0.49, 0.5)]
    assert [(one.text, one.look_again) for one in said] == [("no", False), (None, True), (None, True), ("yes", True)]
    assert said[1].reason == "a second look is due"
    verdict = judge(TAGS, tags(0.3, 0.1, **seen), policy)
    assert (verdict.labels, verdict.look_again) == ({"gun": "unknown"}, True)


@pytest.mark.parametrize(
    ("answer", "due"),
    [
        (yes(math.nan), True),
        (yes(0.1, bounds={"yes": (0.0, 0.3)}), True),
        (yes(0.1, bounds={"yes": (0.0, 0.15)}), False),
        (Answer(question_hash=YES_NO.hash, text="Yes."), True),
        (Answer(question_hash=YES_NO.hash, text="No."), False),
        (Answer(question_hash=YES_NO.hash, state=AnswerState.UNMEASURED, reason="refused"), False),
        (Answer(question_hash=YES_NO.hash, state=AnswerState.ERROR, reason="nan"), False),
        (look(YES_NO, yes(0.9)), False),
    ],
)
def test_a_second_look_is_due_where_p_may_reach_it(answer, due):
    assert second_look_is_due(YES_NO, answer, Policy(look_again=LOOK)) is due
    assert not second_look_is_due(YES_NO, answer, Policy())


def test_words_are_joined_and_an_error_of_one_window_is_one_of_all():
    def said(text: str) -> Answer:
        return Answer(question_hash=TAGS.hash, text=text, covered_s=5.0, expected_s=5.0)

    assert look(TAGS, said("no,no"), said("Yes.,no")).text == "yes,no"
    assert look(TAGS, said("no,no"), said("no,maybe")).text == "no,maybe"
    assert judge(TAGS, look(TAGS, said("no,no"), said("gun!")), Policy()).state is VerdictState.UNKNOWN
    failed = Answer(question_hash=YES_NO.hash, state=AnswerState.ERROR, reason="nan")
    assert look(YES_NO, yes(0.9), failed).reason == "5-10 s: nan"
    refused = replace(failed, state=AnswerState.UNMEASURED, reason="refused")
    assert look(YES_NO, refused, refused).state is AnswerState.UNMEASURED


def test_what_was_seen_and_spent_adds_up_and_the_least_mass_counts():
    found = look(YES_NO, yes(0.9, prompt_tokens=7, covered_s=4.0), yes(0.1, mass=0.4, prompt_tokens=5))
    assert (found.covered_s, found.expected_s, found.prompt_tokens, found.mass) == (9.0, 10.0, 12, 0.4)
    assert look(YES_NO, yes(0.9), yes(0.1, mass=None)).mass is None
    assert look(TAGS, tags(0.1, 0.1), tags(0.1, 0.1, mass={"gun": 0.3})).mass == {"gun": 0.3}


def test_a_prompt_is_judged_by_the_look_that_its_policy_wants():
    def prompt(name: str, policy: Policy) -> Prompt:
        return Prompt(name=name, set_name="set", question=YES_NO, policy=policy)

    prompts = PromptSet(
        "set",
        (
            prompt("twice", Policy(look_again=LOOK)),
            prompt("once", Policy()),
            prompt("other", Policy(look_again=replace(LOOK, window_s=10))),
            prompt("later", Policy(look_again=LOOK, when=(("twice", "no"),))),
        ),
    )
    first = {YES_NO.hash: yes(0.3, covered_s=10.0, expected_s=10.0)}
    verdicts = prompts.judge(first)
    assert [one.name for one in prompts.to_look_again(verdicts)] == ["twice", "other"]
    verdicts = prompts.judge(first, {(YES_NO.hash, LOOK.key): look(YES_NO, yes(0.9), yes(0.1))})
    assert {name: one.text for name, one in verdicts.items()} == {
        "twice": "yes",
        "once": "no",
        "other": None,
        "later": "yes",
    }
    assert [one.name for one in prompts.to_look_again(verdicts)] == ["other"]
