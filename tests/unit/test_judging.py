"""Verdicts follow from answers and policy: they are monotone, each tag is judged alone, and no failure is a "no"."""

from __future__ import annotations

import json
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
    Review,
    RollUp,
    Touched,
    VerdictState,
    judge,
    probability,
    touched,
)

YES_NO = Question(kind=PromptKind.YES_NO, text="Is it?")
TAGS = Question(kind=PromptKind.TAGS, text="Is it", choices=("gun", "fire", "dog"))
CHOICE = Question(kind=PromptKind.CHOICE, text="Where?", choices=("in", "out"))
NUMBER = Question(kind=PromptKind.NUMBER, text="How many?", minimum=0, maximum=2)
COUNT = Question(kind=PromptKind.NUMBER, text="How many?")
ORDER = {"no": 0, "unknown": 1, "yes": 2}

shares = st.floats(0, 1)
bands = st.tuples(shares, shares).map(lambda pair: Band(*sorted(pair)))
policies = st.builds(
    Policy,
    band=bands,
    bands=st.dictionaries(st.sampled_from(TAGS.choices), bands).map(lambda found: tuple(found.items())),
    min_mass=st.sampled_from([0.0, 0.5]),
    min_margin=st.sampled_from([0.0, 0.2]),
    flags=st.sampled_from([(), ("yes",), ("gun", "fire"), ("out",)]),
    severity=st.sampled_from([None, 1, 4]),
    severities=st.sampled_from([(), (("gun", 2),)]),
    lane=st.sampled_from([None, "restricted"]),
    review=st.sampled_from(Review),
    roll_up=st.sampled_from([None, RollUp.parse("all"), RollUp.parse("share 0.5")]),
    coverage=st.sampled_from([0.0, 0.5, 0.8, 1.0]),
    text=st.sampled_from(["", "what counts"]),
    codes=st.sampled_from([{}, {"iab": ["1"]}]),
    when=st.sampled_from([(), (("a", "yes"),)]),
    look_again=st.sampled_from([None, LookAgain(from_p=0.2, plan="fps:2:64", window_s=5.0)]),
)
coverages = st.sampled_from([0.0, 15.0, 24.0, 30.0])


def yes(p: float, **more) -> Answer:
    return Answer(question_hash=YES_NO.hash, scores={"yes": p, "no": 1 - p}, **{"mass": 0.9, **more})


def tags(*p: float, **more) -> Answer:
    scores = dict(zip(TAGS.choices, p, strict=True))
    return Answer(question_hash=TAGS.hash, scores=scores, **{"mass": dict.fromkeys(TAGS.choices, 0.9), **more})


@st.composite
def answers(draw, question: Question) -> Answer:
    covered = {"covered_s": draw(coverages), "expected_s": 30.0}
    if draw(st.integers(0, 9)) == 0:
        return Answer(question_hash=question.hash, state=AnswerState.UNMEASURED, reason="refused", **covered)
    mass = draw(st.sampled_from([None, 0.3, 0.9]))
    if question is TAGS:
        if draw(st.booleans()) and draw(st.booleans()):
            words = ",".join(draw(st.sampled_from(["yes", "no", "perhaps"])) for _ in TAGS.choices)
            return Answer(question_hash=question.hash, text=words, **covered)
        measured = tags(*(draw(shares) for _ in TAGS.choices), **covered)
        if draw(st.booleans()):
            return measured
        # A server that lists no tokens of one tag.
        scores = {tag: p for tag, p in (measured.scores or {}).items() if tag != "gun"}
        words = ",".join(draw(st.sampled_from(["yes", "no"])) for _ in TAGS.choices)
        return replace(measured, scores=scores, text=words, bounds={"gun": (0.0, 1.0)})
    if question is YES_NO:
        if draw(st.booleans()) and draw(st.booleans()):
            return Answer(question_hash=question.hash, text=draw(st.sampled_from(["Yes.", "no", "well"])), **covered)
        p = draw(shares)
        bounds = {"yes": (p * draw(shares), p + (1 - p) * draw(shares))} if draw(st.booleans()) else None
        return yes(p, mass=mass, bounds=bounds, **covered)
    if question is COUNT:
        return Answer(question_hash=question.hash, text=draw(st.sampled_from(["0", "2", "many"])), **covered)
    words = question.choices or tuple(map(str, question.numbers))
    weights = [draw(st.floats(0.01, 1)) for _ in words]
    scores = {word: weight / sum(weights) for word, weight in zip(words, weights, strict=True)}
    return Answer(question_hash=question.hash, scores=scores, mass=mass, **covered)


def side(verdict) -> int:
    return ORDER[verdict.text or "unknown"]


@pytest.mark.parametrize(
    ("p", "text"), [(0.0, "no"), (0.5499, "no"), (0.55, None), (0.6, None), (0.6499, None), (0.65, "yes"), (1.0, "yes")]
)
def test_doubt_is_a_band_around_the_threshold(p, text):
    verdict = judge(YES_NO, yes(p), Policy(band=Band.around(0.6, 0.1)))
    assert (verdict.text, verdict.state is VerdictState.UNKNOWN) == (text, text is None)


@given(policies, st.lists(shares, min_size=2, max_size=8), coverages)
def test_as_p_rises_a_verdict_goes_from_no_over_unknown_to_yes_and_never_back(policy, probabilities, covered_s):
    seen = {"covered_s": covered_s, "expected_s": 30.0}
    sides = [side(judge(YES_NO, yes(p, **seen), policy)) for p in sorted(probabilities)]
    assert sides == sorted(sides)
    labels = [judge(TAGS, tags(p, 0.99, 0.01, **seen), policy).labels.get("gun", "no") for p in sorted(probabilities)]
    assert [ORDER[label] for label in labels] == sorted(ORDER[label] for label in labels)


@given(policies, st.lists(st.tuples(shares, shares, shares).map(sorted), min_size=2, max_size=6))
def test_an_interval_that_moves_up_never_goes_back(policy, intervals):
    lows, middles, highs = (sorted(ends) for ends in zip(*intervals, strict=True))
    sides = [
        side(judge(YES_NO, yes(p, bounds={"yes": (low, high)}), policy))
        for low, p, high in zip(lows, middles, highs, strict=True)
    ]
    assert sides == sorted(sides)


@given(policies, shares, st.tuples(shares, shares), st.tuples(shares, shares))
def test_other_tags_never_change_the_label_of_a_tag(policy, p, others, more):
    policy = replace(policy, min_mass=0.0)
    first = judge(TAGS, tags(p, *others), policy).labels.get("gun", "no")
    assert judge(TAGS, tags(p, *more), policy).labels.get("gun", "no") == first


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_measurement_that_is_not_finite_is_never_a_no(broken):
    policy = Policy(flags=("gun",))
    assert judge(YES_NO, yes(broken), policy).state is VerdictState.UNKNOWN
    verdict = judge(TAGS, tags(broken, 0.9, 0.1), policy)
    assert (verdict.value, verdict.labels, verdict.needs_review) == (["fire"], {"gun": "unknown", "fire": "yes"}, True)
    for question, names in ((CHOICE, ("in", "out")), (NUMBER, ("0", "1", "2"))):
        scores = dict.fromkeys(names, 0.1) | {names[0]: broken}
        answer = Answer(question_hash=question.hash, scores=scores)
        assert judge(question, answer, policy).state is VerdictState.UNKNOWN
    missing = Answer(question_hash=TAGS.hash, scores={"fire": 0.1, "dog": 0.1})
    assert judge(TAGS, missing, policy).state is VerdictState.UNKNOWN


@given(
    st.sampled_from([YES_NO, TAGS, NUMBER, COUNT]).flatmap(lambda one: st.tuples(st.just(one), answers(one))), policies
)
def test_too_little_coverage_never_gives_a_no(pair, policy):
    question, answer = pair
    verdict = judge(question, answer, policy)
    if answer.covered_s < policy.coverage * answer.expected_s:
        assert verdict.value not in (False, [], 0.0)
    assert (verdict.state is VerdictState.ANSWERED) == (verdict.value is not None)


def test_what_was_found_stands_at_any_coverage():
    seen = {"covered_s": 1.0, "expected_s": 30.0}
    assert judge(YES_NO, yes(0.9, **seen), Policy()).text == "yes"
    assert judge(YES_NO, yes(0.1, **seen), Policy()).reason == "saw 1 of 30 s"
    assert judge(TAGS, tags(0.9, 0.1, 0.1, **seen), Policy()).labels == {
        "gun": "yes",
        "fire": "unknown",
        "dog": "unknown",
    }


def test_a_tag_without_probability_has_its_word_and_leaves_the_others_theirs():
    mixed = Answer(question_hash=TAGS.hash, scores={"fire": 0.9, "dog": 0.1}, text="yes,no,no", bounds={"gun": (0, 1)})
    assert judge(TAGS, mixed, Policy()).value == ["gun", "fire"]
    verdict = judge(TAGS, mixed, Policy(band=Band(0.4, 0.6)))
    assert (verdict.value, verdict.labels) == (["fire"], {"gun": "unknown", "fire": "yes"})


def test_a_margin_counts_what_a_server_does_not_list():
    bounds = {"in": (0.5, 0.7), "out": (0.2, 0.35)}
    answer = Answer(question_hash=CHOICE.hash, scores={"in": 0.71, "out": 0.29}, bounds=bounds, text="in")
    assert judge(CHOICE, answer, Policy(min_margin=0.1)).text == "in"
    assert judge(CHOICE, answer, Policy(min_margin=0.2)).state is VerdictState.UNKNOWN


def test_rounding_never_makes_a_whole_video_too_little():
    parts = [0.1] * 3
    assert sum(parts) != 0.3
    assert judge(YES_NO, yes(0.1, covered_s=0.3, expected_s=sum(parts)), Policy(coverage=1)).text == "no"


def test_flags_have_their_severities_and_unsure_flags_need_review():
    policy = Policy(flags=("gun", "fire"), severity=2, severities=(("gun", 4),), band=Band(0.4, 0.6))
    both = judge(TAGS, tags(0.9, 0.9, 0.1), policy)
    assert (both.text, both.flagged, both.severity, both.needs_review) == ("gun, fire", True, 4, True)
    unsure = judge(TAGS, tags(0.5, 0.1, 0.9), policy)
    assert (unsure.text, unsure.flagged, unsure.severity, unsure.needs_review) == ("dog", False, None, True)
    quiet = judge(TAGS, tags(0.5, 0.1, 0.9), replace(policy, review=Review.FLAGGED))
    assert not quiet.needs_review


@given(policies)
def test_a_policy_survives_json_with_its_hash(policy):
    again = Policy.from_json(json.loads(json.dumps(policy.to_json())))
    assert again == policy
    assert again.hash == policy.hash


@given(
    st.sampled_from([YES_NO, TAGS, CHOICE, NUMBER, COUNT]).flatmap(lambda one: st.tuples(st.just(one), answers(one))),
    policies,
    policies,
    st.sets(st.sampled_from(["band", "bands", "coverage", "severity", "severities", "text", "roll_up", "when"])),
)
def test_an_answer_whose_verdict_differs_is_touched(pair, old, other, keys):
    question, answer = pair
    new = replace(old, **{key: getattr(other, key) for key in keys})
    what = touched(question, old, new)
    if judge(question, answer, old) != judge(question, answer, new):
        assert what.includes(probability(question, answer), bounded=bool(answer.bounds))
    if (old.roll_up, old.coverage) != (new.roll_up, new.coverage):
        assert what.videos


@pytest.mark.parametrize(
    ("old", "new", "question", "answer"),
    [
        pytest.param(
            Policy(flags=("no",), severity=1), Policy(flags=("no",), severity=4), YES_NO, yes(0.1), id="a flagged no"
        ),
        pytest.param(
            Policy(flags=("no",), coverage=0.1), Policy(flags=("no",), coverage=0.9), YES_NO,
            yes(0.9, covered_s=15.0, expected_s=30.0), id="a yes that may hide a flagged no",
        ),
        pytest.param(
            Policy(flags=("gun",), coverage=0.1), Policy(flags=("gun",), coverage=0.9), TAGS,
            tags(0.1, 0.1, 0.9, covered_s=15.0, expected_s=30.0), id="a flag beside a likelier tag",
        ),
        pytest.param(
            Policy(band=Band(0.5, 0.5)), Policy(band=Band(0.3, 0.3)), TAGS,
            tags(math.nan, 0.4, 0.1), id="a tag beside one that is not finite",
        ),
        pytest.param(
            Policy(band=Band(0.6, 0.6)), Policy(band=Band(0.7, 0.7)), YES_NO,
            yes(0.2, bounds={"yes": (0.1, 0.65)}), id="bounds that reach the line from far away",
        ),
    ],
)  # fmt: skip
def test_answers_that_are_easily_overlooked_are_touched(old, new, question, answer):
    assert judge(question, answer, old) != judge(question, answer, new)
    what, p = touched(question, old, new), probability(question, answer)
    in_range = p is not None and any(low <= p <= high for low, high in what.ranges)
    assert in_range or (answer.bounds and what.bounded)


def test_only_answers_that_can_differ_are_touched():
    old, new = Policy(band=Band.around(0.5, 0.1)), Policy(band=Band.around(0.6, 0.1))
    assert touched(YES_NO, old, new) == Touched(ranges=((0.45, 0.65),), bounded=True)
    other = replace(old, text="what counts", codes={"iab": ["1"]}, severity=4)
    assert not touched(YES_NO, old, other), "without a flag, a severity changes nothing"


@given(policies)
def test_a_policy_read_from_the_database_touches_nothing(policy):
    """Postgres stores the keys of an object in an order of its own."""
    stored = Policy.from_json(json.loads(json.dumps(policy.to_json(), sort_keys=True)))
    assert stored.hash == policy.hash
    assert not any(touched(question, policy, stored) for question in (YES_NO, TAGS, CHOICE, NUMBER, COUNT))


def test_no_tag_of_an_answer_without_a_measurement_looks_like_a_no():
    """A tag that is "no" has no label."""
    for state in (AnswerState.UNMEASURED, AnswerState.ERROR):
        answer = Answer(question_hash=TAGS.hash, state=state, reason="refused")
        assert judge(TAGS, answer, Policy()).labels == dict.fromkeys(TAGS.choices, "unknown")
    words = Answer(question_hash=TAGS.hash, text="no")
    assert judge(TAGS, words, Policy()).labels == dict.fromkeys(TAGS.choices, "unknown")


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_bounds_and_coverage_that_are_not_finite_never_give_a_no(broken):
    for bounds in ((broken, 0.1), (0.0, broken)):
        assert judge(YES_NO, yes(0.1, bounds={"yes": bounds}), Policy()).state is VerdictState.UNKNOWN
    if broken != math.inf:
        unseen = judge(YES_NO, yes(0.1, covered_s=broken, expected_s=30.0), Policy())
        assert unseen.reason == "it is not known how much was seen"
