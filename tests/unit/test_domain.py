import pickle

import pytest
from fixtures.judged import yes_no

from nightreel.domain import (
    Answer,
    AnswerState,
    Band,
    GenerationOptions,
    Language,
    Prompt,
    PromptKind,
    PromptSet,
    Question,
    SamplingPlan,
    Verdict,
    VerdictState,
)
from nightreel.errors import PermanentError, SettingsError, TransientError
from nightreel.reasons import Reason

VIOLENCE = Prompt.of(name="violence", kind=PromptKind.YES_NO, text="Violence?", band=Band.around(0.5, 0.2))
WHY = Prompt.of(name="why", kind=PromptKind.TEXT, text="Why?", when=(("violence", "yes"),))
PROMPTS = PromptSet("test", (VIOLENCE, WHY))


DEEPER = Prompt.of(name="deeper", kind=PromptKind.TEXT, text="And then?", when=(("why", "because"),))


def said(p: float) -> dict[str, Verdict]:
    return PROMPTS.judge({VIOLENCE.question.hash: yes_no(VIOLENCE.question, p)})


def test_a_follow_up_is_missing_until_its_condition_fails():
    assert PROMPTS.missing({}) == (VIOLENCE, WHY)
    assert PROMPTS.missing(said(0.9)) == (WHY,)
    assert PROMPTS.missing(said(0.1)) == ()
    assert PROMPTS.missing(said(0.5)) == (), "unknown does not count as yes"


def test_a_follow_up_of_a_follow_up_that_is_not_due_is_not_due():
    prompts = PromptSet("test", (VIOLENCE, WHY, DEEPER))
    assert prompts.missing(said(0.1)) == ()
    told = Verdict(state=VerdictState.ANSWERED, text="because", value="because")
    assert prompts.due(said(0.1) | {"why": told}) == {"violence": True, "why": False, "deeper": False}
    assert prompts.due(said(0.9) | {"why": told}) == {"violence": True, "why": True, "deeper": True}
    assert prompts.due(said(0.9)) == {"violence": True, "why": True, "deeper": None}


def test_policy_and_names_do_not_change_the_hash_of_a_question():
    other = Prompt.of(
        name="v", kind=PromptKind.YES_NO, text="Violence?", flags=("yes",), when=(("x", "y"),), set_name="s"
    )
    assert other.question.hash == VIOLENCE.question.hash
    assert other.policy.hash != VIOLENCE.policy.hash
    assert Prompt.of(name="violence", kind=PromptKind.YES_NO, text="Violence!").question.hash != VIOLENCE.question.hash


@pytest.mark.parametrize(
    ("question", "hash_"),
    [
        (Question(kind=PromptKind.CAPTION, text="Describe."), "9ce45197c3267d2d"),
        (
            Question(kind=PromptKind.TEXT, text="Why?", decoding=GenerationOptions(temperature=0.5, seed=1)),
            "442ee295f6cf27c8",
        ),
        (Question(kind=PromptKind.CHOICE, text="Where?", choices=("in", "out")), "dfd406f3d5fbf765"),
        (Question(kind=PromptKind.YES_NO, text="Is it?"), "206f56d8f4dddba0"),
        (Question(kind=PromptKind.TAGS, text="Is it", choices=("a", "b")), "af49747189f0cddb"),
        (Question(kind=PromptKind.NUMBER, text="How many?", minimum=0, maximum=3), "3d18b10b1446b1ec"),
        (Question(kind=PromptKind.YES_NO, text="是吗？", language=Language.CHINESE), "a0eb1b291577ae04"),
    ],
)
def test_the_hash_of_a_question_stays_what_it_was(question, hash_):
    """A change of it asks every library again."""
    assert question.hash.startswith(hash_)


def test_an_answer_has_either_a_measurement_or_a_reason():
    with pytest.raises(AssertionError):
        Answer(question_hash="x", state=AnswerState.UNMEASURED, text="no", reason="?")
    with pytest.raises(AssertionError):
        Answer(question_hash="x")


@pytest.mark.parametrize(
    "text", ["", "uniform", "uniform:0", "uniform:x", "fps:2", "fps:0:4", "fps:nan:4", "keyframes:"]
)
def test_an_invalid_plan_is_refused(text):
    with pytest.raises(SettingsError):
        SamplingPlan.parse(text)


def test_a_plan_is_written_as_it_was_parsed():
    for text in ("uniform:8", "fps:2:32", "fps:0.5:8", "keyframes:16"):
        assert str(SamplingPlan.parse(text)) == text
    assert SamplingPlan.parse("uniform:8").hash != SamplingPlan.parse("uniform:8", window_s=10).hash


@pytest.mark.parametrize(
    "error",
    [
        TransientError(Reason.DISK_FULL, "c"),
        PermanentError(Reason.DAMAGED, "b"),
        SettingsError("x", Reason.OTHER_MODEL),
    ],
)
def test_errors_survive_a_process_boundary(error):
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own data
    assert (type(again), again.reason, again.detail) == (type(error), error.reason, error.detail)


@pytest.mark.parametrize(
    ("bounds", "numbers"),
    [
        ({"minimum": 0.0, "maximum": 20.0}, tuple(range(21))),
        ({"minimum": 0.5, "maximum": 3.2}, (1, 2, 3)),
        ({"minimum": 0.0, "maximum": 21.0}, ()),
        ({"minimum": 0.0}, ()),
        ({"minimum": 0.0, "maximum": 9.0, "decoding": GenerationOptions(beams=4)}, ()),
    ],
)
def test_a_number_with_narrow_bounds_and_default_decoding_is_scored(bounds, numbers):
    question = Question(kind=PromptKind.NUMBER, text="How many?", **bounds)
    assert question.numbers == numbers
    assert question.scored == bool(numbers)
