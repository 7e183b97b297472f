"""Turn probabilities and texts into Answers. A failure never becomes a "no".

`inprocess.scoring` and `served.completions` measure probabilities; this module decides `answered`, `unknown` or
`error`. Pure functions: no model, no tokenizer, no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightreel.domain import Answer, AnswerState, Prompt, PromptKind

_NUMBER_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?![\w])")
TIE = 1e-5
"""Probabilities closer than this are equal: scores of the same tokens differ as much from batch to batch."""


@dataclass(frozen=True, slots=True)
class YesNo:
    """The probabilities for one yes/no question.

    Args:
        p: probability of "yes" among yes and no.
        mass: total next-token probability of yes and no.
    """

    p: float
    mass: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """The probabilities for a question with several allowed answers.

    Args:
        probabilities: of each allowed answer; they sum to 1.
        mass: total next-token probability of the allowed answers.
    """

    probabilities: Mapping[str, float]
    mass: float


def answer_yes_no(prompt: Prompt, measured: YesNo | None, *, tokens: int) -> Answer:
    """Answer a yes/no prompt; `p` is the probability of "yes". `measured` is None if the scores are not finite."""
    if measured is None:
        return not_finite(prompt, tokens=tokens)
    p = measured.p
    fields: dict[str, Any] = {"p": p, "scores": {"yes": p, "no": 1 - p}, "prompt_tokens": tokens}
    doubt = _doubt(prompt, mass=measured.mass, margin=abs(2 * p - 1))
    if doubt:
        return Answer(prompt_hash=prompt.hash, state=AnswerState.UNKNOWN, reason=doubt, **fields)
    yes = p >= prompt.threshold
    return Answer(prompt_hash=prompt.hash, state=AnswerState.ANSWERED, text="yes" if yes else "no", value=yes, **fields)


def answer_tags(prompt: Prompt, measured: Sequence[YesNo | None], *, tokens: int) -> Answer:
    """Answer a tags prompt, where each choice is a yes/no question.

    `scores` has the probability of each tag, `p` that of the least certain decision.
    """
    finite = [one for one in measured if one is not None]
    if len(finite) < len(measured):
        return not_finite(prompt, tokens=tokens)
    each = {choice: one.p for choice, one in zip(prompt.choices, finite, strict=True)}
    fields: dict[str, Any] = {
        "p": min(max(p, 1 - p) for p in each.values()),
        "scores": each,
        "prompt_tokens": tokens,
    }
    doubt = _doubt(prompt, mass=min(one.mass for one in finite), margin=min(abs(2 * p - 1) for p in each.values()))
    if doubt:
        return Answer(prompt_hash=prompt.hash, state=AnswerState.UNKNOWN, reason=doubt, **fields)
    tags = [choice for choice, p in each.items() if p >= prompt.threshold]
    return Answer(prompt_hash=prompt.hash, state=AnswerState.ANSWERED, text=", ".join(tags), value=tags, **fields)


def answer_best(prompt: Prompt, measured: Distribution | None, *, tokens: int) -> Answer:
    """Answer with the likeliest allowed answer: a choice, or a number within narrow bounds."""
    if measured is None:
        return not_finite(prompt, tokens=tokens)
    each = measured.probabilities
    best, *others = sorted(each, key=each.__getitem__, reverse=True)
    fields: dict[str, Any] = {"p": each[best], "scores": dict(each), "prompt_tokens": tokens}
    margin = each[best] - each[others[0]] if others else 1.0
    doubt = _doubt(prompt, mass=measured.mass, margin=margin)
    if doubt:
        return Answer(prompt_hash=prompt.hash, state=AnswerState.UNKNOWN, reason=doubt, **fields)
    value = float(best) if prompt.kind is PromptKind.NUMBER else best
    return Answer(prompt_hash=prompt.hash, state=AnswerState.ANSWERED, text=best, value=value, **fields)


def unknown(prompt: Prompt, reason: str, *, tokens: int) -> Answer:
    """An answer that is unknown whatever was measured."""
    return Answer(prompt_hash=prompt.hash, state=AnswerState.UNKNOWN, reason=reason, prompt_tokens=tokens)


def not_finite(prompt: Prompt, *, tokens: int) -> Answer:
    """The error of a prompt whose scores are NaN or infinite: the model computed nothing."""
    reason = "the model's scores are not finite"
    return Answer(prompt_hash=prompt.hash, state=AnswerState.ERROR, reason=reason, prompt_tokens=tokens)


def answer_text(prompt: Prompt, text: str, *, tokens: int, generated: int) -> Answer:
    """Answer with a generated text, trimmed.

    An empty text is unknown, and so is a number that cannot be read or is out of range.
    """
    counts: dict[str, Any] = {"prompt_tokens": tokens, "generated_tokens": generated}
    text = text.strip()
    if not text:
        reason = "the model generated no text"
        return Answer(prompt_hash=prompt.hash, state=AnswerState.UNKNOWN, reason=reason, **counts)
    if prompt.kind is not PromptKind.NUMBER:
        return Answer(prompt_hash=prompt.hash, state=AnswerState.ANSWERED, text=text, value=text, **counts)
    number = read_number(text)
    if number is None:
        reason = f"no single number in {text[:80]!r}"
        return Answer(prompt_hash=prompt.hash, state=AnswerState.UNKNOWN, reason=reason, **counts)
    low = -math.inf if prompt.minimum is None else prompt.minimum
    high = math.inf if prompt.maximum is None else prompt.maximum
    if not low <= number <= high:
        reason = f"{number:.15g} is not in the range {low:g} to {high:g}"
        return Answer(prompt_hash=prompt.hash, state=AnswerState.UNKNOWN, reason=reason, **counts)
    return Answer(prompt_hash=prompt.hash, state=AnswerState.ANSWERED, text=f"{number:.15g}", value=number, **counts)


def read_number(text: str) -> float | None:
    """The only number in a text, in digits or as a word up to twenty; None if there is none or several.

    >>> read_number("There are three people."), read_number("1,200"), read_number("2 or 3"), read_number("many")
    (3.0, 1200.0, None, None)
    """
    found = {float(match.replace(",", "")) for match in _NUMBER.findall(text)}
    if not all(map(math.isfinite, found)):  # hundreds of digits
        return None
    words = re.findall(r"[a-z]+", text.lower())
    found |= {float(_NUMBER_WORDS.index(word)) for word in words if word in _NUMBER_WORDS}
    if not found and words[:1] == ["none"]:
        found = {0.0}
    return found.pop() if len(found) == 1 else None


def _doubt(prompt: Prompt, *, mass: float, margin: float) -> str | None:
    if mass < prompt.min_mass:
        return f"the allowed answers have a probability of {mass:.3g}, less than min_mass {prompt.min_mass:g}"
    if margin < TIE:
        return "the two likeliest answers are equally likely"
    if margin < prompt.min_margin:
        return f"the best answer leads by {margin:.3g}, less than min_margin {prompt.min_margin:g}"
    return None
