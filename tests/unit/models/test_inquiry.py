"""The order in which prompts can be asked."""

from __future__ import annotations

from nightreel.domain import Answer, AnswerState, Prompt, PromptKind
from nightreel.models.inquiry import Inquiry

_RED = Prompt.of(name="red", kind=PromptKind.YES_NO, text="Red?")
_TOPICS = Prompt.of(name="topics", kind=PromptKind.TAGS, text="About", choices=("news", "sports"))


def follow_up(name: str, **when: str) -> Prompt:
    return Prompt.of(name=name, kind=PromptKind.YES_NO, text=f"{name}?", when=tuple(when.items()))


def answered(prompt: Prompt, text: str, value: bool | list[str] | None = None) -> Answer:
    return Answer(
        prompt_hash=prompt.hash, state=AnswerState.ANSWERED, text=text, value=text == "yes" if value is None else value
    )


def inquiry(*prompts: Prompt) -> Inquiry:
    return Inquiry(waiting=list(prompts), known={})


def test_a_follow_up_waits_for_its_condition() -> None:
    why, deeper = follow_up("why", red="yes"), follow_up("deeper", why="yes")
    one = inquiry(_RED, why, deeper)
    assert one.take_ready() == [_RED]
    one.record(_RED, answered(_RED, "yes"))
    assert one.take_ready() == [why]
    assert one.waiting == [deeper]
    one.record(why, answered(why, "no"))
    assert one.take_ready() == one.waiting == []


def test_an_unknown_answer_fulfils_no_condition() -> None:
    why, not_red = follow_up("why", red="yes"), follow_up("not_red", red="no")
    one = inquiry(_RED, why, not_red)
    one.take_ready()
    one.record(_RED, Answer(prompt_hash=_RED.hash, state=AnswerState.UNKNOWN, reason="doubt"))
    assert one.take_ready() == one.waiting == []


def test_a_condition_on_tags_holds_for_each_tag() -> None:
    both = follow_up("both", topics="sports")
    one = inquiry(both)
    one.known["topics"] = answered(_TOPICS, "news, sports", ["news", "sports"])
    assert one.take_ready() == [both]


def test_answers_come_in_the_order_of_the_questions_one_each() -> None:
    same = Prompt.of(name="same", kind=PromptKind.YES_NO, text="Red?")
    one = inquiry(_RED, _TOPICS, same)
    for prompt in reversed(one.take_ready()):
        one.record(prompt, answered(prompt, "yes"))
    assert [answer.prompt_hash for answer in one.in_order([_RED, _TOPICS, same])] == [_RED.hash, _TOPICS.hash]


def test_an_inquiry_can_be_restored_from_a_snapshot() -> None:
    one = inquiry(_RED, _TOPICS)
    before = one.snapshot()
    for prompt in one.take_ready():
        one.record(prompt, answered(prompt, "yes"))
    one.restore(before)
    assert (one.waiting, one.known, one.answers) == ([_RED, _TOPICS], {}, [])


def _failed(prompt: Prompt) -> Answer:
    return Answer(prompt_hash=prompt.hash, state=AnswerState.ERROR, reason="not finite")


def test_an_error_beside_other_answers_is_unknown() -> None:
    one = inquiry(_RED, _TOPICS)
    one.record(_RED, _failed(_RED))
    one.record(_TOPICS, answered(_TOPICS, "news", ["news"]))
    red, topics = one.in_order([_RED, _TOPICS])
    assert (red.state, red.reason, topics.state) == (AnswerState.UNKNOWN, "not finite", AnswerState.ANSWERED)


def test_an_error_beside_an_earlier_answer_is_unknown() -> None:
    one = Inquiry(waiting=[_RED], known={"topics": answered(_TOPICS, "news", ["news"])})
    one.record(_RED, _failed(_RED))
    assert [answer.state for answer in one.in_order([_RED])] == [AnswerState.UNKNOWN]


def test_errors_alone_stay_errors() -> None:
    one = inquiry(_RED, _TOPICS)
    for prompt in (_RED, _TOPICS):
        one.record(prompt, _failed(prompt))
    assert [answer.state for answer in one.in_order([_RED, _TOPICS])] == [AnswerState.ERROR] * 2
