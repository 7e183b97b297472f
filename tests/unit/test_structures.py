"""JSON that a model wrote: what is believed of it, and how keywords are counted."""

from __future__ import annotations

import json

import pytest

from nightreel.domain import (
    Answer,
    AnswerState,
    Field,
    FieldType,
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
from nightreel.domain.structures import normalised, read_object

FIELDS = (
    Field(name="place", type=FieldType.STRING, choices=("indoors", "outdoors")),
    Field(name="people", type=FieldType.INTEGER, minimum=0, maximum=9),
    Field(name="signs", type=FieldType.STRING, max_length=5, max_items=2),
    Field(name="share", type=FieldType.NUMBER),
    Field(name="dark", type=FieldType.BOOLEAN),
)
WHOLE = {"place": "indoors", "people": 2, "signs": ["stop"], "share": 0.5, "dark": False}
KEYWORDS = Question(kind=PromptKind.KEYWORDS, text="List", most=3)
FACTS = Question(kind=PromptKind.OBJECT, text="Describe", fields=FIELDS)


def test_whole_json_is_read_in_the_order_of_its_fields():
    given = json.dumps(dict(reversed(WHOLE.items())))
    assert list(read_object(given, FIELDS).items()) == list(WHOLE.items())


@pytest.mark.parametrize(
    "change",
    [
        {"place": "moon"},
        {"place": ["indoors"]},
        {"people": 2.5},
        {"people": True},
        {"people": 10},
        {"people": -1},
        {"people": "2"},
        {"signs": "stop"},
        {"signs": ["a", "b", "c"]},
        {"signs": ["longer than 5"]},
        {"signs": [1]},
        {"share": "much"},
        {"dark": 0},
        {"more": 1},
    ],
)
def test_json_that_does_not_fit_is_not_read(change):
    assert isinstance(read_object(json.dumps(WHOLE | change), FIELDS), str)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"place": "indoors"', json.dumps(WHOLE)[:-1], json.dumps(WHOLE) + "x", "[" * 5000, "NaN",
     json.dumps(WHOLE).replace("0.5", "NaN"), json.dumps(WHOLE).replace("0.5", "1e999")],
)  # fmt: skip
def test_half_a_json_is_not_read(text):
    assert isinstance(read_object(text, FIELDS), str)


def test_keywords_count_as_one_whatever_their_case_width_and_marks():
    assert normalised(["Ｒｅｄ Car", "red  car", "#red car!", "ÄRGER", "ärger", "二维码", " "], most=9) == [
        "red car",
        "ärger",
        "二维码",
    ]
    assert normalised(["a", "b", "c"], most=2) == ["a", "b"]


def _judged(question: Question, text: str) -> Verdict:
    return judge(question, Answer(question_hash=question.hash, text=text), Policy())


def test_the_judge_reads_keywords_and_objects():
    verdict = _judged(KEYWORDS, '{"keywords": ["Red", "red", "Star"]}')
    assert (verdict.state, verdict.value, verdict.text) == (VerdictState.ANSWERED, ["red", "star"], "red, star")
    assert _judged(KEYWORDS, '{"keywords": []}').value == []
    assert _judged(FACTS, json.dumps(WHOLE)).value == WHOLE
    for question, text in ((KEYWORDS, "red, star"), (KEYWORDS, '{"keywords": ["re'), (FACTS, "{}")):
        assert _judged(question, text).state is VerdictState.UNKNOWN


def test_a_failure_never_becomes_an_empty_list():
    failed = Answer(question_hash=KEYWORDS.hash, state=AnswerState.UNMEASURED, reason="cut off")
    assert judge(KEYWORDS, failed, Policy()).value is None


def _video(question: Question, *values: object, policy: Policy | None = None, missing: int = 0):
    verdicts = [
        SegmentVerdict(
            10.0 * place,
            10.0 * place + 10,
            Verdict(state=VerdictState.UNKNOWN, reason="in doubt")
            if value is None
            else Verdict(state=VerdictState.ANSWERED, value=value, text=str(value)),
        )
        for place, value in enumerate(values)
    ]
    seconds = 10.0 * len(values)
    return roll_up(
        question, policy or Policy(), verdicts, missing=missing, covered_s=seconds, expected_s=seconds
    ).verdict


def test_the_keywords_of_a_video_are_the_most_frequent_of_its_segments():
    assert _video(KEYWORDS, ["a", "b"], ["b", "c"], ["d", "b"]).value == ["b", "a", "c"]
    share = Policy(roll_up=RollUp.parse("share 0.5"))
    assert _video(KEYWORDS, ["a", "b"], ["b"], policy=share).value == ["b", "a"]
    assert _video(KEYWORDS, ["a", "b"], ["b"], ["b"], policy=share).value == ["b"]


def test_a_video_without_keywords_is_unknown_if_a_segment_is():
    assert _video(KEYWORDS, [], []).value == []
    assert _video(KEYWORDS, [], None).state is VerdictState.UNKNOWN
    assert _video(KEYWORDS, [], missing=1).state is VerdictState.UNKNOWN
    assert _video(KEYWORDS, ["a"], None).value == ["a"]


def test_the_object_of_a_video_has_the_most_frequent_values_and_all_items():
    other = WHOLE | {"place": "outdoors", "signs": ["exit", "stop"]}
    assert _video(FACTS, WHOLE, other, other).value == other | {"signs": ["stop", "exit"]}
    assert _video(FACTS, other, WHOLE, policy=Policy(roll_up=RollUp.parse("first"))).value == other
    assert _video(FACTS, None, None).state is VerdictState.UNKNOWN


def test_a_new_option_changes_no_hash_of_other_questions():
    plain = Question(kind=PromptKind.CAPTION, text="Describe the video.")
    assert plain.hash == "a1df498656b8fc8f24200840367a2df02549be51ba7f76e3dcbe29e155e3141a"
    assert Question.from_json({key: value for key, value in plain.to_json().items() if key not in
                               ("most", "fields", "level", "over", "notes_bytes")}) == plain  # fmt: skip
