"""Turn a server's completions into Answers: the text, and the first token's probabilities if they are listed.

A server lists only the likeliest tokens, as text. How much the unlisted rest can change is kept as bounds.
`domain.judging` decides what they mean.

`remote` calls it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nightreel.domain import TIE, Answer, PromptKind, Question, bare
from nightreel.errors import PermanentError
from nightreel.models import answering
from nightreel.models.answering import Distribution, YesNo
from nightreel.models.served.structured import formed
from nightreel.models.served.vocabulary import word_of
from nightreel.reasons import Reason

_YES_NO = ("yes", "no")
_SURFACE_FORMS = 6  # yes, Yes, YES, each with and without a space: as many tokens of a word may be unlisted
_LEAST = 1e-12
_MAX_TEXT = 64 * 1024  # characters; a prompt allows at most 4096 tokens
_MAX_TOKENS = 2**31 - 1
_SLACK = 1e-3  # probabilities in a listing are rounded
_BY_ID = "token_id:"


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion.

    Args:
        text: the generated text.
        withheld: why the server withheld its answer (a refusal, a content filter); empty if it did not.
        listed: probabilities of the likeliest first tokens, with their text; empty if the server lists none.
        lists_all: no other token begins one of the allowed answers.
        distribution: the probabilities of the allowed answers, if the server gave each.
    """

    text: str
    withheld: str
    listed: tuple[tuple[str, float], ...]
    prompt_tokens: int
    generated_tokens: int
    lists_all: bool = False
    distribution: Distribution | None = None

    @property
    def unlisted(self) -> float:
        """The largest probability that unlisted tokens can add to the answers."""
        if self.lists_all:
            return 0.0
        if not self.listed:
            return 1.0
        probabilities = [probability for _, probability in self.listed]
        return max(0.0, min(1 - sum(probabilities), _SURFACE_FORMS * min(probabilities)))


# -- reading -----------------------------------------------------------------------------------------------------


def read_completion(completion: Mapping[str, Any]) -> Completion:
    """Read a chat completion.

    Raises:
        PermanentError: `model_protocol`, naming the part that is missing or has the wrong type.
    """
    choices = completion.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise _not_the_protocol("choices[0].message", choices)
    text = message.get("content")
    if not isinstance(text, str | None):
        raise _not_the_protocol("choices[0].message.content", text)
    if text and len(text) > _MAX_TEXT:
        raise PermanentError(Reason.MODEL_PROTOCOL, f"the answer has {len(text):,} characters, more than {_MAX_TEXT:,}")
    usage = completion.get("usage")
    return Completion(
        text=text or "",
        withheld=_withheld(choice, message),
        listed=_first_token(choice.get("logprobs")),
        prompt_tokens=_count(usage, "prompt_tokens"),
        generated_tokens=_count(usage, "completion_tokens"),
    )


def chosen_probabilities(completion: Mapping[str, Any], ids: Collection[int]) -> dict[int, float] | None:
    """The probabilities of chosen tokens as the first one, by id; None if the server does not list each of them.

    Raises:
        PermanentError: `model_protocol`: a value is not a probability.
    """
    try:
        candidates = completion["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        listed = {str(item["token"]).removeprefix(_BY_ID): item["logprob"] for item in candidates}
    except (KeyError, IndexError, TypeError):
        return None
    if not all(str(id_) in listed for id_ in ids):
        return None
    found = {id_: _probability(listed[str(id_)]) for id_ in ids}
    _require_probabilities(found.values())
    return found


def prompt_score(completion: Mapping[str, Any], answer: str, *, start: int, to_the_end: bool) -> float | None:
    """The log-probability of an answer that a request contains; None if the server does not give it.

    Args:
        start: number of tokens before the answer. to_the_end: includes the token after the answer, which ends the turn.

    Raises:
        PermanentError: `model_protocol`: a value is not a log-probability.
    """
    entries = completion.get("prompt_logprobs")
    said, total = "", 0.0
    for entry in entries[start:] if isinstance(entries, list) else ():
        values = list(entry.values()) if isinstance(entry, dict) else []
        if len(values) != 1 or not isinstance(values[0], dict):
            return None
        is_whole = bool(said) and _letters(said) == _letters(answer)
        if is_whole and not to_the_end:
            return total
        total += math.log(max(_probability(values[0].get("logprob")), _LEAST))
        if is_whole:
            return total
        said += str(values[0].get("decoded_token") or "")
    return total if _letters(said) == _letters(answer) and not to_the_end else None


def _letters(text: str) -> str:
    return "".join(text.split())


def _withheld(choice: Mapping[str, Any], message: Mapping[str, Any]) -> str:
    if message.get("refusal"):
        return f"the server refused: {str(message['refusal'])[:200]!r}"
    if choice.get("finish_reason") == "content_filter":
        return "the server's content filter withheld the answer"
    return ""


def _first_token(logprobs: Any) -> tuple[tuple[str, float], ...]:
    """Candidates for the first token, from the format of the chat API or of the older completions API."""
    if not isinstance(logprobs, dict):
        return ()
    if isinstance(logprobs.get("content"), list):
        first = next(iter(logprobs["content"]), None)
        if first is None:
            return ()
        if not isinstance(first, dict):
            raise _not_the_protocol("logprobs.content[0]", first)
        candidates = first.get("top_logprobs") or [first]
        if not (isinstance(candidates, list) and all(isinstance(item, dict) for item in candidates)):
            raise _not_the_protocol("logprobs.content[0].top_logprobs", candidates)
        pairs = [(item.get("token"), item.get("logprob")) for item in candidates]
    elif isinstance(logprobs.get("top_logprobs"), list) and logprobs["top_logprobs"]:
        first = logprobs["top_logprobs"][0]
        if not isinstance(first, dict):
            raise _not_the_protocol("logprobs.top_logprobs[0]", first)
        pairs = list(first.items())
    else:
        return ()
    listed = tuple((_word(token), _probability(logprob)) for token, logprob in pairs)
    _require_probabilities([probability for _, probability in listed])
    return listed


def _word(token: Any) -> str:
    if not isinstance(token, str):
        raise _not_the_protocol("a token as text", token)
    return word_of(token)


def _probability(logprob: Any) -> float:
    """The probability of a log-probability. Servers write -9999 for minus infinity: it becomes 0."""
    if isinstance(logprob, bool) or not isinstance(logprob, int | float) or logprob > _SLACK:
        raise _not_the_protocol("a log-probability", logprob)
    return math.exp(min(0.0, max(logprob, -1e6)))


def _require_probabilities(found: Collection[float]) -> None:
    if sum(found) > 1 + _SLACK:
        raise _not_the_protocol("probabilities of one token that sum to 1", found)


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 <= value <= _MAX_TOKENS else 0


def _not_the_protocol(expected: str, got: Any) -> PermanentError:
    return PermanentError(Reason.MODEL_PROTOCOL, f"expected {expected} in the server's answer, got {repr(got)[:200]}")


# -- answering ---------------------------------------------------------------------------------------------------


def to_answer(question: Question, replies: Sequence[Completion]) -> Answer:
    """The answer to a question, from one reply per text (see `wording.texts_of`)."""
    tokens = min(sum(reply.prompt_tokens for reply in replies), _MAX_TOKENS)
    withheld = next((reply.withheld for reply in replies if reply.withheld), "")
    if withheld:
        return answering.unmeasured(question, withheld, tokens=tokens)
    if replies[0].distribution:
        return answering.measured_best(question, replies[0].distribution, tokens=tokens)
    match question.kind:
        case PromptKind.YES_NO | PromptKind.TAGS:
            return _yes_no(question, replies, tokens)
        case PromptKind.CHOICE:
            return _choice(question, replies[0], tokens)
        case PromptKind.KEYWORDS | PromptKind.OBJECT:
            return formed(question, replies[0].text, tokens=tokens, generated=replies[0].generated_tokens)
    return answering.written(question, replies[0].text, tokens=tokens, generated=replies[0].generated_tokens)


def _yes_no(question: Question, replies: Sequence[Completion], tokens: int) -> Answer:
    """From one reply, or for tags from one reply per tag, whose words are joined by commas.

    A tag of which the server lists neither yes nor no has its word alone. Its bounds say that any value is possible.
    """
    each = [_measured(reply) for reply in replies]
    is_tags = question.kind is PromptKind.TAGS
    said = ",".join(reply.text.replace(",", " ") for reply in replies) if is_tags else replies[0].text
    if not any(each):
        return answering.written(question, said, tokens=tokens, generated=0)
    if not is_tags:
        return replace(answering.measured_yes_no(question, each[0], tokens=tokens), text=said.strip())
    answer = answering.measured_tags(question, each, tokens=tokens)
    by_words = {tag: (0.0, 1.0) for tag, one in zip(question.choices, each, strict=True) if one is None}
    return replace(answer, text=said.strip(), bounds={**(answer.bounds or {}), **by_words} or None)


def _choice(question: Question, reply: Completion, tokens: int) -> Answer:
    """The choice in the text, with probabilities if the first tokens of the choices distinguish them.

    What the server lists is kept as bounds. It becomes scores where it leads for or against the text, whatever the
    unlisted tokens are.
    """
    masses = dict.fromkeys(question.choices, 0.0)
    shared = 0.0
    for token, probability in reply.listed:
        begun = [choice for choice in question.choices if token and choice.casefold().startswith(token)]
        if len(begun) == 1:
            masses[begun[0]] += probability
        elif begun:
            shared += probability
    unclear = shared + reply.unlisted
    whole = sum(masses.values()) + unclear
    bounds = None
    if reply.listed and unclear:
        bounds = {choice: (mass / whole, (mass + unclear) / whole) for choice, mass in masses.items()}
    said = next((choice for choice in question.choices if bare(choice) == bare(reply.text)), None)
    others = max((mass for choice, mass in masses.items() if choice != said), default=0.0)
    own = masses[said] if said else 0.0
    tied = bool(own) and abs(others - own) < TIE and not shared
    scores = None
    if said and (own > others + unclear or others > own + unclear or tied):
        floored = {choice: max(mass, _LEAST) for choice, mass in masses.items()}
        scores = {choice: mass / sum(floored.values()) for choice, mass in floored.items()}
    return Answer(
        question_hash=question.hash,
        text=reply.text.strip(),
        scores=scores,
        mass=sum(masses.values()) + shared if reply.listed else None,
        bounds=bounds,
        prompt_tokens=tokens,
    )


def _measured(reply: Completion) -> YesNo | None:
    """The probabilities of yes and no, with bounds for what the server does not list; None if it lists neither."""
    yes, no = (sum(probability for token, probability in reply.listed if token == word) for word in _YES_NO)
    if not yes and not no:
        return None
    unlisted = reply.unlisted
    whole = yes + no + unlisted
    bounds = (yes / whole, (yes + unlisted) / whole) if unlisted else None
    yes, no = max(yes, _LEAST), max(no, _LEAST)
    return YesNo(p=yes / (yes + no), mass=yes + no, bounds=bounds)
