"""Make Answers of what was measured. `domain.judging` decides what they mean.

`inprocess.scoring` and `served.completions` measure. Pure functions: no model, no tokenizer, no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nightreel.domain import Answer, AnswerState, Question


@dataclass(frozen=True, slots=True)
class YesNo:
    """The probabilities for one yes/no question.

    Args:
        p: probability of "yes" among yes and no.
        mass: total next-token probability of yes and no.
        bounds: least and greatest value that `p` can have, if not all tokens are known.
    """

    p: float
    mass: float
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Distribution:
    """The probabilities for a question with several allowed answers.

    Args:
        probabilities: of each allowed answer; they sum to 1.
        mass: total next-token probability of the allowed answers.
    """

    probabilities: Mapping[str, float]
    mass: float


def measured_yes_no(question: Question, measured: YesNo | None, *, tokens: int) -> Answer:
    """The answer to a yes/no question. `measured` is None if the scores are not finite."""
    if measured is None:
        return not_finite(question, tokens=tokens)
    return Answer(
        question_hash=question.hash,
        scores={"yes": measured.p, "no": 1 - measured.p},
        mass=measured.mass,
        bounds={"yes": measured.bounds} if measured.bounds else None,
        prompt_tokens=tokens,
    )


def measured_tags(question: Question, measured: Sequence[YesNo | None], *, tokens: int) -> Answer:
    """The answer to a tags question: one measurement for each choice. A tag whose scores are not finite is left out."""
    each = {tag: one for tag, one in zip(question.choices, measured, strict=True) if one is not None}
    if not each:
        return not_finite(question, tokens=tokens)
    return Answer(
        question_hash=question.hash,
        scores={tag: one.p for tag, one in each.items()},
        mass={tag: one.mass for tag, one in each.items()},
        bounds={tag: one.bounds for tag, one in each.items() if one.bounds} or None,
        prompt_tokens=tokens,
    )


def measured_best(question: Question, measured: Distribution | None, *, tokens: int) -> Answer:
    """The answer to a question of which one of several answers is right: a choice, or a number within narrow bounds."""
    if measured is None:
        return not_finite(question, tokens=tokens)
    return Answer(
        question_hash=question.hash,
        scores=dict(measured.probabilities),
        mass=measured.mass,
        prompt_tokens=tokens,
    )


def written(question: Question, text: str, *, tokens: int, generated: int) -> Answer:
    """The answer of a generated text, trimmed."""
    return Answer(question_hash=question.hash, text=text.strip(), prompt_tokens=tokens, generated_tokens=generated)


def unmeasured(question: Question, reason: str, *, tokens: int) -> Answer:
    """The answer if the model said nothing that can be read, and would not if it were asked again."""
    return Answer(question_hash=question.hash, state=AnswerState.UNMEASURED, reason=reason, prompt_tokens=tokens)


def not_finite(question: Question, *, tokens: int) -> Answer:
    """The error of a question whose scores are NaN or infinite: the model computed nothing."""
    reason = "the model's scores are not finite"
    return Answer(question_hash=question.hash, state=AnswerState.ERROR, reason=reason, prompt_tokens=tokens)


def half_written(question: Question, *, tokens: int, generated: int) -> Answer:
    """The answer if the text ended before it had its form. Half of it is not kept: it could be read as the whole."""
    ended = generated >= question.max_new_tokens
    why = "raise max_new_tokens" if ended else "the model found no token that goes on in the form that is asked for"
    return Answer(
        question_hash=question.hash,
        state=AnswerState.UNMEASURED,
        reason=f"the answer was not whole after {generated} tokens: {why}",
        prompt_tokens=tokens,
        generated_tokens=generated,
    )
