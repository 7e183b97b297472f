"""Scores and texts to Answers. Never does a failure become a "no".

`local` gives it log-probabilities and generated texts; it decides `answered`, `unknown` or `error`. Pure functions,
except that Vocabulary reads a tokenizer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from nightreel.domain import Answer, AnswerState, Prompt, PromptKind
from nightreel.models.inprocess.prefix import Scores

_WORDS = ("yes", "no")
_NUMBER_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?![\w])")
_LONGEST_FORM = 8


@dataclass(frozen=True, slots=True)
class YesNoForms:
    """How a vocabulary writes "yes" and "no".

    Args:
        single: token ids of each word where both have single-token forms ("yes", "Yes", " yes", "YES", ...).
        branches: else, token sequences of each word, to be scored as branches.
    """

    single: tuple[tuple[int, ...], tuple[int, ...]] | None
    branches: tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]


class Vocabulary:
    """How a model's tokenizer writes the answers that are scored."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        end = tokenizer.eos_token_id
        self._end: tuple[int, ...] = () if end is None else (end,)
        self._forms: dict[str, tuple[tuple[int, ...], ...]] = {}
        found: dict[str, list[int]] = {word: [] for word in _WORDS}
        for token, id_ in tokenizer.get_vocab().items():
            if len(token) <= _LONGEST_FORM and any(word in token.lower() for word in _WORDS):
                word = tokenizer.decode([id_]).strip().lower()
                if word in found:
                    found[word].append(id_)
        yes, no = (tuple(sorted(found[word])) for word in _WORDS)
        self.yes_no = YesNoForms((yes, no) if yes and no else None, (self.forms("yes"), self.forms("no")))

    def forms(self, word: str) -> tuple[tuple[int, ...], ...]:
        """Token sequences of a word: as written and with its first letter the other way, with and without a space."""
        if word not in self._forms:
            spellings = [space + form for space in ("", " ") for form in (word, word[:1].swapcase() + word[1:])]
            ids = (tuple(self._tokenizer(text, add_special_tokens=False).input_ids) for text in spellings)
            self._forms[word] = tuple(dict.fromkeys(ids))
        return self._forms[word]

    def whole(self, number: int) -> tuple[tuple[int, ...], ...]:
        """Token sequences of a number as the whole answer, up to the end of the turn: 1 is no beginning of 12."""
        return tuple((*form, *self._end) for form in self.forms(str(number)))

    def branches(self, prompt: Prompt) -> tuple[tuple[int, ...], ...]:
        """The continuations that have to be scored for each question of a prompt."""
        if prompt.numbers:
            return tuple(form for number in prompt.numbers for form in self.whole(number))
        if prompt.kind is PromptKind.CHOICE:
            return tuple(form for choice in prompt.choices for form in self.forms(choice))
        if prompt.kind.scored and self.yes_no.single is None:
            return self.yes_no.branches[0] + self.yes_no.branches[1]
        return ()


def answer_yes_no(prompt: Prompt, scores: Scores, vocabulary: Vocabulary, *, tokens: int) -> Answer:
    """`p` is the probability of "yes" among yes and no."""
    pair = _yes_no(scores, vocabulary.yes_no)
    if pair is None:
        return _error(prompt, "the model's scores are not finite", tokens)
    p, mass = pair
    fields: dict[str, Any] = {"p": p, "scores": {"yes": p, "no": 1 - p}, "prompt_tokens": tokens}
    doubt = _doubt(prompt, mass=mass, margin=abs(2 * p - 1))
    if doubt:
        return Answer(prompt_hash=prompt.hash, state=AnswerState.UNKNOWN, reason=doubt, **fields)
    yes = p >= prompt.threshold
    return Answer(prompt_hash=prompt.hash, state=AnswerState.ANSWERED, text="yes" if yes else "no", value=yes, **fields)


def answer_tags(prompt: Prompt, scores: Sequence[Scores], vocabulary: Vocabulary, *, tokens: int) -> Answer:
    """Each choice is its own yes/no question; `scores` has the probability of each, `p` that of the least sure one."""
    pairs = [_yes_no(one, vocabulary.yes_no) for one in scores]
    if any(pair is None for pair in pairs):
        return _error(prompt, "the model's scores are not finite", tokens)
    sure = [pair for pair in pairs if pair is not None]
    each = {choice: p for choice, (p, _) in zip(prompt.choices, sure, strict=True)}
    fields: dict[str, Any] = {
        "p": min(max(p, 1 - p) for p in each.values()),
        "scores": each,
        "prompt_tokens": tokens,
    }
    doubt = _doubt(prompt, mass=min(mass for _, mass in sure), margin=min(abs(2 * p - 1) for p, _ in sure))
    if doubt:
        return Answer(prompt_hash=prompt.hash, state=AnswerState.UNKNOWN, reason=doubt, **fields)
    tags = [choice for choice, p in each.items() if p >= prompt.threshold]
    return Answer(prompt_hash=prompt.hash, state=AnswerState.ANSWERED, text=", ".join(tags), value=tags, **fields)


def answer_choice(prompt: Prompt, scores: Scores, vocabulary: Vocabulary, *, tokens: int) -> Answer:
    """A softmax over the choices' mean log-probability a token, the best surface form of each."""
    best: list[float] = []
    first_tokens: set[int] = set()
    place = 0
    for choice in prompt.choices:
        forms = vocabulary.forms(choice)
        own = scores.branches[place : place + len(forms)]
        place += len(forms)
        best.append(max(sum(branch) / len(branch) for branch in own))
        first_tokens.update(form[0] for form in forms)
    if not all(map(math.isfinite, best)):
        return _error(prompt, "the model's scores are not finite", tokens)
    probabilities = torch.softmax(torch.tensor(best, dtype=torch.float64), 0).tolist()
    each = dict(zip(prompt.choices, probabilities, strict=True))
    ranked = sorted(each, key=each.__getitem__, reverse=True)
    mass = scores.next_token[sorted(first_tokens)].exp().sum().item()
    fields: dict[str, Any] = {"p": each[ranked[0]], "scores": each, "prompt_tokens": tokens}
    margin = each[ranked[0]] - each[ranked[1]] if len(ranked) > 1 else 1.0
    doubt = _doubt(prompt, mass=mass, margin=margin)
    if doubt:
        return Answer(prompt_hash=prompt.hash, state=AnswerState.UNKNOWN, reason=doubt, **fields)
    return Answer(prompt_hash=prompt.hash, state=AnswerState.ANSWERED, text=ranked[0], value=ranked[0], **fields)


def answer_number(prompt: Prompt, scores: Scores, vocabulary: Vocabulary, *, tokens: int) -> Answer:
    """A number within narrow bounds: `p` is the probability that it is the whole answer, among all in the range."""
    logs: list[float] = []
    place = 0
    for number in prompt.numbers:
        forms = len(vocabulary.whole(number))
        own = torch.tensor([sum(branch) for branch in scores.branches[place : place + forms]], dtype=torch.float64)
        place += forms
        logs.append(torch.logsumexp(own, 0).item())
    if any(map(math.isnan, logs)) or not math.isfinite(max(logs)):
        return _error(prompt, "the model's scores are not finite", tokens)
    probabilities = torch.softmax(torch.tensor(logs, dtype=torch.float64), 0).tolist()
    each = dict(zip(prompt.numbers, probabilities, strict=True))
    best, *others = sorted(each, key=each.__getitem__, reverse=True)
    scored = {str(number): p for number, p in each.items()}
    fields: dict[str, Any] = {"p": each[best], "scores": scored, "prompt_tokens": tokens}
    margin = each[best] - each[others[0]] if others else 1.0
    doubt = _doubt(prompt, mass=sum(map(math.exp, logs)), margin=margin)
    if doubt:
        return Answer(prompt_hash=prompt.hash, state=AnswerState.UNKNOWN, reason=doubt, **fields)
    return Answer(prompt_hash=prompt.hash, state=AnswerState.ANSWERED, text=str(best), value=float(best), **fields)


def answer_text(prompt: Prompt, text: str, *, tokens: int, generated: int) -> Answer:
    """A generated text: trimmed; empty is an error, a number that cannot be read or is out of range is unknown."""
    counts: dict[str, Any] = {"prompt_tokens": tokens, "generated_tokens": generated}
    text = text.strip()
    if not text:
        return Answer(prompt_hash=prompt.hash, state=AnswerState.ERROR, reason="the model generated no text", **counts)
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
    """The one number a text states, in digits or as a word up to twenty; None when there is none or several.

    >>> read_number("There are three people."), read_number("1,200"), read_number("2 or 3"), read_number("many")
    (3.0, 1200.0, None, None)
    """
    found = {float(match.replace(",", "")) for match in _NUMBER.findall(text)}
    words = re.findall(r"[a-z]+", text.lower())
    found |= {float(_NUMBER_WORDS.index(word)) for word in words if word in _NUMBER_WORDS}
    if not found and words[:1] == ["none"]:
        found = {0.0}
    return found.pop() if len(found) == 1 else None


def _yes_no(scores: Scores, forms: YesNoForms) -> tuple[float, float] | None:
    """Probability of yes among yes and no, and the mass on both; None when scores are not finite."""
    if forms.single is not None:
        yes, no = (torch.logsumexp(scores.next_token[list(ids)].double(), 0).item() for ids in forms.single)
    else:
        split = len(forms.branches[0])
        yes, no = (
            torch.logsumexp(torch.tensor([sum(branch) for branch in part], dtype=torch.float64), 0).item()
            for part in (scores.branches[:split], scores.branches[split:])
        )
    if math.isnan(yes) or math.isnan(no) or not math.isfinite(max(yes, no)):
        return None
    return 1 / (1 + math.exp(min(no - yes, 700.0))), math.exp(yes) + math.exp(no)


def _doubt(prompt: Prompt, *, mass: float, margin: float) -> str | None:
    if mass < prompt.min_mass:
        return f"allowed answers hold {mass:.3g} of the probability, fewer than min_mass {prompt.min_mass:g}"
    if margin < prompt.min_margin:
        return f"the best answer leads by {margin:.3g}, less than min_margin {prompt.min_margin:g}"
    return None


def _error(prompt: Prompt, reason: str, tokens: int) -> Answer:
    return Answer(prompt_hash=prompt.hash, state=AnswerState.ERROR, reason=reason, prompt_tokens=tokens)
