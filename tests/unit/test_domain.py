import pickle

import pytest

from nightreel.domain import Answer, AnswerState, GenerationOptions, Prompt, PromptKind, PromptSet, SamplingPlan
from nightreel.errors import PermanentError, SettingsError, TransientError
from nightreel.reasons import Reason

VIOLENCE = Prompt.of(name="violence", kind=PromptKind.YES_NO, text="Violence?")
WHY = Prompt.of(name="why", kind=PromptKind.TEXT, text="Why?", when=(("violence", "yes"),))
PROMPTS = PromptSet("test", (VIOLENCE, WHY))


def said(text: str | None) -> dict[str, Answer]:
    state = AnswerState.ANSWERED if text else AnswerState.UNKNOWN
    reason = None if text else "thin margin"
    return {VIOLENCE.hash: Answer(prompt_hash=VIOLENCE.hash, state=state, text=text, value=text, reason=reason)}


def test_a_follow_up_is_missing_until_its_condition_fails():
    assert PROMPTS.missing({}) == (VIOLENCE, WHY)
    assert PROMPTS.missing(said("yes")) == (WHY,)
    assert PROMPTS.missing(said("no")) == ()
    assert PROMPTS.missing(said(None)) == (), "unknown does not count as yes"


def test_names_flags_and_conditions_do_not_change_the_hash_of_a_prompt():
    other = Prompt.of(
        name="v", kind=PromptKind.YES_NO, text="Violence?", flags=("yes",), when=(("x", "y"),), set_name="s"
    )
    assert other.hash == VIOLENCE.hash
    assert Prompt.of(name="violence", kind=PromptKind.YES_NO, text="Violence!").hash != VIOLENCE.hash


def test_an_answer_has_either_a_value_or_a_reason():
    with pytest.raises(AssertionError):
        Answer(prompt_hash="x", state=AnswerState.UNKNOWN, text="no", value=False, reason="?")
    with pytest.raises(AssertionError):
        Answer(prompt_hash="x", state=AnswerState.ANSWERED)


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
    prompt = Prompt.of(name="n", kind=PromptKind.NUMBER, text="How many?", **bounds)
    assert prompt.numbers == numbers
    assert prompt.scored == bool(numbers)
