"""Second looks: when a segment is looked at again, and how the measurements of its windows become one of the segment.

first answer, p >= look_again.from  ->  windows of the segment, denser frames  ->  one answer  ->  judging.judge

The combined answer says "yes" where one window does, and "no" only where all do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from nightreel.domain.answers import Answer, AnswerState, Window, bare
from nightreel.domain.policies import LookAgain, Policy
from nightreel.domain.questions import PromptKind, Question

_ANYTHING = (0.0, 1.0)


def second_look_is_due(question: Question, answer: Answer, policy: Policy) -> bool:
    """Whether the policy looks again at the segment of a first answer."""
    return any(reaches(name, question, answer, policy) for name in names_of(question))


def reaches(name: str, question: Question, answer: Answer, policy: Policy) -> bool:
    """Whether the probability of "yes", or of a tag, can reach `look_again.from`. One that is not a number can."""
    look = policy.look_again
    if look is None or answer.look or answer.state is not AnswerState.MEASURED:
        return False
    if answer.scores is None:
        return bare(words_of(question, answer).get(name, "")) == "yes"
    return not _limits(answer, name)[1] < look.from_p


def names_of(question: Question) -> tuple[str, ...]:
    """The answers whose probabilities a second look measures: "yes", or the tags."""
    match question.kind:
        case PromptKind.YES_NO:
            return ("yes",)
        case PromptKind.TAGS:
            return question.choices
    return ()


def words_of(question: Question, answer: Answer) -> dict[str, str]:
    """What a model wrote for "yes" or for each tag; empty if it did not write one word for each."""
    names = names_of(question)
    said = (answer.text or "").split(",") if question.kind is PromptKind.TAGS else [answer.text or ""]
    return dict(zip(names, said, strict=True)) if len(said) == len(names) else {}


def combined(question: Question, look: LookAgain, windows: Sequence[Window], *, expected_s: float) -> Answer:
    """One answer from those of all windows of a segment.

    A window that was not measured can be anything: then nothing is certainly "no". The mass is the least one.

    Args:
        expected_s: seconds that the segment should have.
    """
    answers = [window.answer for window in windows]
    told = next((one for one in windows if one.answer.state is AnswerState.ERROR), None)
    scored = [answer for answer in answers if answer.scores is not None]
    answer_of_all = partial(
        Answer,
        question_hash=question.hash,
        look=look.key,
        windows=tuple(windows),
        prompt_tokens=sum(answer.prompt_tokens for answer in answers),
        generated_tokens=sum(answer.generated_tokens for answer in answers),
        covered_s=sum(answer.covered_s for answer in answers),
        expected_s=expected_s,
    )
    if told is None and all(answer.state is not AnswerState.MEASURED for answer in answers):
        told = windows[0]
    if told is not None:
        reason = f"{told.start_s:g}-{told.end_s:g} s: {told.answer.reason}"
        return answer_of_all(state=told.answer.state, reason=reason)
    if not scored:
        return answer_of_all(text=_joined_words(question, answers))
    scores, bounds = {}, {}
    for name in names_of(question):
        limits = [_limits(answer, name) if answer.scores is not None else _ANYTHING for answer in answers]
        known = [p for answer in scored if math.isfinite(p := (answer.scores or {}).get(name, math.nan))]
        if known:
            scores[name] = max(known)
            bounds[name] = (max(low for low, _ in limits), max(high for _, high in limits))
    return answer_of_all(
        scores=scores | {"no": 1 - scores["yes"]} if question.kind is PromptKind.YES_NO and scores else scores,
        bounds={name: pair for name, pair in bounds.items() if pair != (scores[name], scores[name])} or None,
        mass=_least_mass(question, scored),
    )


def _limits(answer: Answer, name: str) -> tuple[float, float]:
    """The least and the greatest value that a probability can have."""
    p = (answer.scores or {}).get(name, math.nan)
    low, high = (answer.bounds or {}).get(name, (p, p))
    return (low, high) if math.isfinite(p) and math.isfinite(low) and math.isfinite(high) else _ANYTHING


def _least_mass(question: Question, answers: Iterable[Answer]) -> float | Mapping[str, float] | None:
    masses = [answer.mass for answer in answers]
    if question.kind is PromptKind.YES_NO:
        numbers = [mass for mass in masses if isinstance(mass, int | float)]
        return min(numbers) if len(numbers) == len(masses) else None
    each = [mass if isinstance(mass, Mapping) else {} for mass in masses]
    return {name: min(mass[name] for mass in each) for name in names_of(question) if all(name in mass for mass in each)}


def _joined_words(question: Question, answers: Sequence[Answer]) -> str:
    """The words for "yes" or for each tag: "yes" if one window says so, "no" if all do, else what else one says."""
    said = [words_of(question, answer) for answer in answers]
    found = []
    for name in names_of(question):
        words = [words.get(name, "not answered") for words in said]
        if any(bare(word) == "yes" for word in words):
            found.append("yes")
        else:
            found.append(next((word for word in words if bare(word) != "no"), "no"))
    return ",".join(found)
