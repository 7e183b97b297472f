"""The order in which prompts can be asked."""

from __future__ import annotations

from fixtures.judged import judged, under

from nightreel.domain import Answer, AnswerState, Band, Prompt, PromptKind
from nightreel.models.inquiry import Inquiry, Seen

_RED = Prompt.of(name="red", kind=PromptKind.YES_NO, text="Red?")
_TOPICS = Prompt.of(name="topics", kind=PromptKind.TAGS, text="About", choices=("news", "sports"))


def follow_up(name: str, **when: str) -> Prompt:
    return Prompt.of(name=name, kind=PromptKind.YES_NO, text=f"{name}?", when=tuple(when.items()))


def answered(prompt: Prompt, *tags: str) -> Answer:
    """A "yes" or "no", or these tags."""
    question = prompt.question
    if question.choices:
        scores = {tag: 0.9 if tag in tags else 0.1 for tag in question.choices}
    else:
        scores = {"yes": 0.9, "no": 0.1} if tags == ("yes",) else {"yes": 0.1, "no": 0.9}
    return Answer(question_hash=question.hash, scores=scores, mass=0.9)


def inquiry(*prompts: Prompt) -> Inquiry:
    return Inquiry(waiting=list(prompts), known={})


def test_a_follow_up_waits_for_its_condition() -> None:
    why, deeper = follow_up("why", red="yes"), follow_up("deeper", why="yes")
    one = inquiry(_RED, why, deeper)
    assert one.take_ready() == [_RED]
    one.record(answered(_RED, "yes"))
    assert one.take_ready() == [why]
    assert one.waiting == [deeper]
    one.record(answered(why, "no"))
    assert one.take_ready() == one.waiting == []


def test_an_unknown_answer_fulfils_no_condition() -> None:
    why, not_red = follow_up("why", red="yes"), follow_up("not_red", red="no")
    one = inquiry(_RED, why, not_red)
    one.take_ready()
    one.record(Answer(question_hash=_RED.question.hash, state=AnswerState.UNMEASURED, reason="refused"))
    assert one.take_ready() == one.waiting == []


def test_a_condition_on_tags_holds_for_each_tag() -> None:
    both = follow_up("both", topics="sports")
    one = inquiry(both)
    one.known["topics"] = judged(_TOPICS, answered(_TOPICS, "news", "sports")).verdict
    assert one.take_ready() == [both]


def test_two_prompts_with_one_question_are_asked_once_and_judged_twice() -> None:
    same = under(Prompt.of(name="same", kind=PromptKind.YES_NO, text="Red?"), band=Band(0.95, 0.95))
    after = follow_up("after", same="no")
    one = inquiry(_RED, _TOPICS, same, after)
    assert one.take_ready() == [_RED, _TOPICS]
    for prompt in (_TOPICS, _RED):
        one.record(answered(prompt, "yes"))
    assert (one.known["red"].text, one.known["same"].text) == ("yes", "no")
    assert one.take_ready() == [after]
    hashes = [answer.question_hash for answer in one.in_order([_RED, _TOPICS, same])]
    assert hashes == [_RED.question.hash, _TOPICS.question.hash]


def test_a_prompt_whose_question_is_answered_is_not_asked_again() -> None:
    one = inquiry(_RED, Prompt.of(name="later", kind=PromptKind.YES_NO, text="Red?", when=(("red", "yes"),)))
    one.take_ready()
    one.record(answered(_RED, "yes"))
    assert one.take_ready() == []
    assert one.known["later"].text == "yes"


def test_a_no_of_which_too_little_was_seen_fulfils_no_condition() -> None:
    not_red = follow_up("not_red", red="no")
    one = Inquiry(waiting=[_RED, not_red], known={}, seen=Seen(3.0, 30.0))
    one.take_ready()
    one.record(answered(_RED, "no"))
    assert one.take_ready() == []
    assert (one.answers[0].covered_s, one.answers[0].expected_s) == (3.0, 30.0)


def test_an_inquiry_can_be_restored_from_a_snapshot() -> None:
    one = inquiry(_RED, _TOPICS)
    before = one.snapshot()
    for prompt in one.take_ready():
        one.record(answered(prompt, "yes"))
    one.restore(before)
    assert (one.waiting, one.known, one.answers) == ([_RED, _TOPICS], {}, [])


def _failed(prompt: Prompt) -> Answer:
    return Answer(question_hash=prompt.question.hash, state=AnswerState.ERROR, reason="not finite")


def test_an_error_beside_other_answers_is_unknown() -> None:
    one = inquiry(_RED, _TOPICS)
    one.take_ready()
    one.record(_failed(_RED))
    one.record(answered(_TOPICS, "news"))
    red, topics = one.in_order([_RED, _TOPICS])
    assert (red.state, red.reason, topics.state) == (AnswerState.UNMEASURED, "not finite", AnswerState.MEASURED)


def test_an_error_beside_an_earlier_answer_is_unknown() -> None:
    one = Inquiry(waiting=[_RED], known={"topics": judged(_TOPICS, answered(_TOPICS, "news")).verdict})
    one.take_ready()
    one.record(_failed(_RED))
    assert [answer.state for answer in one.in_order([_RED])] == [AnswerState.UNMEASURED]


def test_errors_alone_stay_errors() -> None:
    one = inquiry(_RED, _TOPICS)
    for prompt in one.take_ready():
        one.record(_failed(prompt))
    assert [answer.state for answer in one.in_order([_RED, _TOPICS])] == [AnswerState.ERROR] * 2
