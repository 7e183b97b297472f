"""Verdicts follow from answers and policy: they are monotone, each tag is judged alone, and no failure is a "no"."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import pytest
from fixtures.judged import yes_no
from hypothesis import given, settings
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
    SegmentVerdict,
    Touched,
    VerdictState,
    judge,
    probability,
    roll_up,
    touched,
)

YES_NO = Question(kind=PromptKind.YES_NO, text="Is it?")
TAGS = Question(kind=PromptKind.TAGS, text="Is it", choices=("gun", "fire", "dog"))
CHOICE = Question(kind=PromptKind.CHOICE, text="Where?", choices=("in", "out"))
NUMBER = Question(kind=PromptKind.NUMBER, text="How many?", minimum=0, maximum=2)
COUNT = Question(kind=PromptKind.NUMBER, text="How many?")
ORDER = {"no": 0, "unknown": 1, "yes": 2}

CAPTION = Question(kind=PromptKind.CAPTION, text="Describe.")
QUESTIONS = (YES_NO, TAGS, CHOICE, NUMBER, COUNT, CAPTION)

shares = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
bands = st.tuples(shares, shares).map(lambda pair: Band(*sorted(pair)))
tag_names = st.sampled_from(TAGS.choices)


@st.composite
def policies(draw, question: Question = TAGS) -> Policy:
    roll_ups = (
        ["any", "all", "share 0.5", "longest 40"] if question.kind in (PromptKind.YES_NO, PromptKind.TAGS) else []
    )
    possible = question.possible_answers
    return Policy(
        band=draw(bands),
        bands=tuple(draw(st.dictionaries(tag_names, bands)).items()),
        min_mass=draw(st.sampled_from([0.0, 0.5])),
        min_margin=draw(st.sampled_from([0.0, 0.2])),
        flags=tuple(draw(st.sets(st.sampled_from(possible)))) if possible else (),
        severity=draw(st.sampled_from([None, 1, 4])),
        severities=tuple(draw(st.dictionaries(tag_names, st.integers(1, 4))).items()),
        lane=draw(st.sampled_from([None, "restricted"])),
        review=draw(st.sampled_from(Review)),
        roll_up=draw(st.sampled_from([None, *map(RollUp.parse, roll_ups)])),
        coverage=draw(st.sampled_from([0.0, 0.5, 0.8, 1.0])),
        text=draw(st.sampled_from(["", "what counts"])),
        codes=draw(st.sampled_from([{}, {"iab": ["1"]}])),
        when=draw(st.sampled_from([(), (("a", "yes"),)])),
        look_again=draw(st.sampled_from(LOOKS)),
    )


LOOKS = (
    None,
    LookAgain(from_p=0.2, plan="fps:2:64", window_s=5.0),
    LookAgain(from_p=0.6, plan="fps:2:64", window_s=5.0),
    LookAgain(from_p=0.2, plan="uniform:8", window_s=5.0),
)
coverages = st.sampled_from([0.0, 15.0, 24.0, 30.0])


def yes(p: float, **more) -> Answer:
    return yes_no(YES_NO, p, **more)


def tags(*p: float, **more) -> Answer:
    scores = dict(zip(TAGS.choices, p, strict=True))
    return Answer(question_hash=TAGS.hash, scores=scores, **{"mass": dict.fromkeys(TAGS.choices, 0.9), **more})


@st.composite
def answers(draw, question: Question) -> Answer:
    """Measured or not, finite or not, whole or with bounds, or in words."""
    covered = {"question_hash": question.hash, "covered_s": draw(coverages), "expected_s": 30.0}
    form = draw(st.sampled_from(["scored", "scored", "bounded", "broken", "words", "unmeasured", "failed"]))
    if form in ("unmeasured", "failed"):
        state = AnswerState.UNMEASURED if form == "unmeasured" else AnswerState.ERROR
        return Answer(state=state, reason="refused", **covered)
    if form == "words" or not question.scored:
        words = ["yes", "no", "No.", "in", "2", "0", "many", ""]
        said = st.sampled_from(words) if question is not TAGS else st.lists(st.sampled_from(words[:3])).map(",".join)
        return Answer(text=draw(said), **covered)
    names = question.possible_answers or tuple(map(str, question.numbers))
    scores = {name: draw(shares) for name in names}
    if form == "broken":
        scores |= draw(
            st.dictionaries(st.sampled_from(names), st.sampled_from([math.nan, math.inf, -math.inf]), min_size=1)
        )
    if question is YES_NO:
        scores["no"] = 1 - scores["yes"]
    bounds = None
    if form == "bounded":
        bounds = {name: (p * draw(shares), p + (1 - p) * draw(shares)) for name, p in scores.items()}
    text = None
    if form == "bounded" and question is TAGS and draw(st.booleans()):  # the server lists no tokens of one tag
        text = ",".join(draw(st.sampled_from(["yes", "no"])) for _ in names)
        del scores["gun"]
    masses = st.sampled_from([None, math.nan, 0.3, 0.9])
    mass = {name: draw(masses) for name in names} if question is TAGS else draw(masses)
    return Answer(scores=scores, bounds=bounds, mass=mass, text=text, **covered)


@st.composite
def changes(draw, question: Question) -> tuple[Policy, Policy]:
    """Two policies that differ in some keys."""
    old, other = draw(policies(question)), draw(policies(question))
    keys = draw(st.sets(st.sampled_from([item.name for item in fields(Policy)]), max_size=3))
    return old, replace(old, **{key: getattr(other, key) for key in keys})


def asked(*questions: Question):
    """A question, and an answer to it."""
    return st.sampled_from(questions).flatmap(lambda one: st.tuples(st.just(one), answers(one)))


def side(verdict) -> int:
    return ORDER[verdict.text or "unknown"]


@pytest.mark.parametrize(
    ("p", "text"), [(0.0, "no"), (0.5499, "no"), (0.55, None), (0.6, None), (0.6499, None), (0.65, "yes"), (1.0, "yes")]
)
def test_doubt_is_a_band_around_the_threshold(p, text):
    verdict = judge(YES_NO, yes(p), Policy(band=Band.around(0.6, 0.1)))
    assert (verdict.text, verdict.state is VerdictState.UNKNOWN) == (text, text is None)


@given(policies(), st.lists(shares, min_size=2, max_size=8), coverages)
def test_as_p_rises_a_verdict_goes_from_no_over_unknown_to_yes_and_never_back(policy, probabilities, covered_s):
    seen = {"covered_s": covered_s, "expected_s": 30.0}
    sides = [side(judge(YES_NO, yes(p, **seen), policy)) for p in sorted(probabilities)]
    assert sides == sorted(sides)
    labels = [judge(TAGS, tags(p, 0.99, 0.01, **seen), policy).labels.get("gun", "no") for p in sorted(probabilities)]
    assert [ORDER[label] for label in labels] == sorted(ORDER[label] for label in labels)


@given(policies(), st.lists(st.tuples(shares, shares, shares).map(sorted), min_size=2, max_size=6))
def test_an_interval_that_moves_up_never_goes_back(policy, intervals):
    lows, middles, highs = (sorted(ends) for ends in zip(*intervals, strict=True))
    sides = [
        side(judge(YES_NO, yes(p, bounds={"yes": (low, high)}), policy))
        for low, p, high in zip(lows, middles, highs, strict=True)
    ]
    assert sides == sorted(sides)


@given(policies(), shares, st.tuples(shares, shares), st.tuples(shares, shares))
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


@given(asked(*QUESTIONS), st.data())
def test_nothing_that_was_not_measured_or_not_seen_is_a_no(pair, data):
    question, answer = pair
    policy = data.draw(policies(question))
    verdict = judge(question, answer, policy)
    unseen = answer.covered_s < policy.coverage * answer.expected_s
    broken = answer.scores and not all(map(math.isfinite, answer.scores.values()))
    if unseen or (broken and question is not TAGS) or answer.state is not AnswerState.MEASURED:
        assert verdict.value not in (False, [], 0.0)
    if question is TAGS and (verdict.state is VerdictState.ANSWERED or verdict.labels):
        finite = {tag for tag, p in (answer.scores or {}).items() if math.isfinite(p)}
        nos = set(TAGS.choices) - set(verdict.labels)
        assert not nos or (not unseen and (answer.text is not None or nos <= finite))
    assert not (verdict.flagged and verdict.state is not VerdictState.ANSWERED)


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


@pytest.mark.parametrize("other_tag", [0.9, 0.1])
def test_a_tag_in_doubt_that_is_no_flag_needs_no_review_whatever_the_others_are(other_tag):
    verdict = judge(TAGS, tags(0.1, 0.5, other_tag), Policy(flags=("gun",), band=Band(0.4, 0.6)))
    assert (verdict.labels["fire"], verdict.needs_review) == ("unknown", False)


@pytest.mark.parametrize(
    ("bounds", "min_margin", "text"),
    [
        (None, 0.3, "in"),
        ({"in": (0.6, 0.65), "out": (0.3, 0.35)}, 0.2, "in"),
        ({"in": (0.6, 0.65), "out": (0.3, 0.35)}, 0.3, None),
        ({"in": (0.4, 0.9), "out": (0.1, 0.6)}, 0.0, None),
        ({"in": (math.nan, 0.9), "out": (0.1, 0.2)}, 0.0, None),
    ],
)
def test_the_best_choice_leads_wherever_the_probabilities_are_between_their_bounds(bounds, min_margin, text):
    answer = Answer(question_hash=CHOICE.hash, scores={"in": 0.65, "out": 0.35}, bounds=bounds)
    assert judge(CHOICE, answer, Policy(min_margin=min_margin)).text == text


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


@given(policies())
def test_a_policy_survives_json_with_its_hash(policy):
    again = Policy.from_json(json.loads(json.dumps(policy.to_json())))
    assert again == policy
    assert again.hash == policy.hash


@settings(max_examples=300)
@given(asked(*QUESTIONS), st.data())
def test_an_answer_whose_verdict_differs_is_touched(pair, data):
    question, answer = pair
    old, new = data.draw(changes(question))
    what = touched(question, old, new)
    if judge(question, answer, old) != judge(question, answer, new):
        assert what.includes(probability(question, answer), bounded=bool(answer.bounds))


@settings(max_examples=300)
@given(
    st.sampled_from(QUESTIONS).flatmap(lambda one: st.tuples(st.just(one), st.lists(answers(one), max_size=3))),
    st.data(),
)
def test_a_video_whose_verdict_differs_has_a_segment_whose_verdict_differs_or_all_videos_are_touched(pair, data):
    question, measured = pair
    old, new = data.draw(changes(question))
    before, after = ([judge(question, answer, policy) for answer in measured] for policy in (old, new))
    rolled = [
        roll_up(
            question,
            policy,
            [SegmentVerdict(30.0 * i, 30.0 * i + 30, verdict) for i, verdict in enumerate(verdicts)],
            missing=0,
            covered_s=sum(answer.covered_s for answer in measured),
            expected_s=30.0 * len(measured),
        )
        for policy, verdicts in ((old, before), (new, after))
    ]
    if rolled[0] != rolled[1]:
        assert before != after or touched(question, old, new).videos


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


def test_a_milder_severity_touches_videos_whose_worst_flag_is_not_that_of_their_segments():
    old = Policy(flags=TAGS.choices, severity=4, severities=(("fire", 2),), roll_up=RollUp.parse("all"))
    new = replace(old, severities=(("fire", 1),))
    assert touched(TAGS, old, new).videos, "only fire is in all segments; each segment has a worse flag"
    assert not touched(TAGS, replace(old, roll_up=None), replace(new, roll_up=None)).videos


def test_only_answers_that_can_differ_are_touched():
    old, new = Policy(band=Band.around(0.5, 0.1)), Policy(band=Band.around(0.6, 0.1))
    assert touched(YES_NO, old, new) == Touched(ranges=((0.45, 0.65),), bounded=True)
    other = replace(old, text="what counts", codes={"iab": ["1"]}, severity=4)
    assert not touched(YES_NO, old, other), "without a flag, a severity changes nothing"


@given(policies())
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
