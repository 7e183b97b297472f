"""Turn a server's completions into Answers: from the first token's probabilities if listed, else from the exact text.

A server lists only the likeliest tokens, as text. If the unlisted rest could change a close answer, the answer is
`unknown`. Without probabilities, `p` is None, and a text that is not exactly one allowed answer is `unknown`. So is
every answer to a prompt that needs a probability (min_mass, min_margin, or a threshold other than 0.5).

`remote` calls it. `answering` decides from the probabilities, as it does for a local model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightreel.domain import Answer, AnswerState, Prompt, PromptKind
from nightreel.errors import PermanentError
from nightreel.models import answering
from nightreel.models.answering import Distribution, YesNo
from nightreel.reasons import Reason

_YES_NO = ("yes", "no")
_SURFACE_FORMS = 6  # yes, Yes, YES, each with and without a space: as many tokens of a word may be unlisted
_LEAST = 1e-12
_MAX_TEXT = 64 * 1024  # characters; a prompt allows at most 4096 tokens
_MAX_TOKENS = 2**31 - 1
_SLACK = 1e-3  # probabilities in a listing are rounded
_SPACE_MARKS = "▁ĠĊ"  # spaces and line ends in vocabularies, in case a server lists raw tokens
_AROUND_WORDS = " \t\r\n.,;:!\"'`*()[]"


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion.

    Args:
        text: the generated text.
        withheld: why the server withheld its answer (a refusal, a content filter); empty if it did not.
        listed: probabilities of the likeliest first tokens, with their text; empty if the server lists none.
    """

    text: str
    withheld: str
    listed: tuple[tuple[str, float], ...]
    prompt_tokens: int
    generated_tokens: int

    @property
    def unlisted(self) -> float:
        """The largest probability that unlisted tokens can add to the answers."""
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
    if sum(probability for _, probability in listed) > 1 + _SLACK:
        raise _not_the_protocol("probabilities of one token that sum to 1", pairs)
    return listed


def _word(token: Any) -> str:
    if not isinstance(token, str):
        raise _not_the_protocol("a token as text", token)
    return token.strip(_SPACE_MARKS).strip().casefold()


def _probability(logprob: Any) -> float:
    """The probability of a log-probability. Servers write -9999 for minus infinity: it becomes 0."""
    if isinstance(logprob, bool) or not isinstance(logprob, int | float) or logprob > _SLACK:
        raise _not_the_protocol("a log-probability", logprob)
    return math.exp(min(0.0, max(logprob, -1e6)))


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 <= value <= _MAX_TOKENS else 0


def _not_the_protocol(expected: str, got: Any) -> PermanentError:
    return PermanentError(Reason.MODEL_PROTOCOL, f"expected {expected} in the server's answer, got {repr(got)[:200]}")


# -- answering ---------------------------------------------------------------------------------------------------


def to_answer(prompt: Prompt, replies: Sequence[Completion]) -> Answer:
    """The answer to a prompt, from one reply per question (see `wording.questions_of`)."""
    tokens = min(sum(reply.prompt_tokens for reply in replies), _MAX_TOKENS)
    withheld = next((reply.withheld for reply in replies if reply.withheld), "")
    if withheld:
        return _unknown(prompt, withheld, tokens)
    match prompt.kind:
        case PromptKind.YES_NO | PromptKind.TAGS:
            return _yes_no(prompt, replies, tokens)
        case PromptKind.CHOICE:
            return _choice(prompt, replies[0], tokens)
        case PromptKind.NUMBER if prompt.min_mass or prompt.min_margin:
            return _unknown(prompt, "min_mass and min_margin need a probability; a server's numbers have none", tokens)
    return answering.answer_text(prompt, replies[0].text, tokens=tokens, generated=replies[0].generated_tokens)


def _yes_no(prompt: Prompt, replies: Sequence[Completion], tokens: int) -> Answer:
    """From one reply, or for tags from one reply per tag."""
    each = [_masses(reply) for reply in replies]
    if not all(any(masses) for masses in each):
        return _yes_no_by_words(prompt, replies, tokens)
    for reply, (yes, no) in zip(replies, each, strict=True):
        whole = yes + no + reply.unlisted
        if yes < prompt.threshold * whole <= yes + reply.unlisted:
            return _unknown(
                prompt,
                f"the listed tokens give yes {yes:.3g} and no {no:.3g}; those not listed, up to "
                f"{reply.unlisted:.3g}, could change the answer",
                tokens,
            )
    measured = [_measured(yes, no) for yes, no in each]
    if prompt.kind is PromptKind.TAGS:
        return answering.answer_tags(prompt, measured, tokens=tokens)
    return answering.answer_yes_no(prompt, measured[0], tokens=tokens)


def _yes_no_by_words(prompt: Prompt, replies: Sequence[Completion], tokens: int) -> Answer:
    said = [bare(reply.text) for reply in replies]
    for reply, word in zip(replies, said, strict=True):
        if word not in _YES_NO:
            return _unknown(prompt, f"neither yes nor no: {reply.text[:80]!r}", tokens)
    if prompt.threshold != 0.5:
        return _unknown(prompt, f"threshold {prompt.threshold:g} needs a probability; the server gives none", tokens)
    if prompt.kind is PromptKind.TAGS:
        value = [choice for choice, word in zip(prompt.choices, said, strict=True) if word == "yes"]
        return _by_words(prompt, ", ".join(value), value, tokens)
    return _by_words(prompt, said[0], said[0] == "yes", tokens)


def _choice(prompt: Prompt, reply: Completion, tokens: int) -> Answer:
    """The choice in the text, with probabilities if the first tokens of the choices distinguish them."""
    said = next((choice for choice in prompt.choices if bare(choice) == bare(reply.text)), None)
    if said is None:
        return _unknown(prompt, f"none of the choices: {reply.text[:80]!r}", tokens)
    masses = dict.fromkeys(prompt.choices, 0.0)
    shared = 0.0
    for token, probability in reply.listed:
        begun = [choice for choice in prompt.choices if token and choice.casefold().startswith(token)]
        if len(begun) == 1:
            masses[begun[0]] += probability
        elif begun:
            shared += probability
    others = max((mass for choice, mass in masses.items() if choice != said), default=0.0)
    unclear = shared + reply.unlisted
    if others > masses[said] + unclear:
        best = max(masses, key=masses.__getitem__)
        return _unknown(prompt, f"the text is {said!r}, but {best!r} starts with likelier tokens", tokens)
    if masses[said] and abs(others - masses[said]) < answering.TIE and not shared:
        return _unknown(prompt, f"the text is {said!r}, but another choice is equally likely", tokens)
    if masses[said] <= others + unclear:
        return _by_words(prompt, said, said, tokens)
    floored = {choice: max(mass, _LEAST) for choice, mass in masses.items()}
    total = sum(floored.values())
    distribution = Distribution({choice: mass / total for choice, mass in floored.items()}, total)
    return answering.answer_best(prompt, distribution, tokens=tokens)


def _masses(reply: Completion) -> tuple[float, float]:
    """Total probability of the listed tokens for yes, and for no."""
    yes, no = (sum(probability for token, probability in reply.listed if token == word) for word in _YES_NO)
    return yes, no


def _measured(yes: float, no: float) -> YesNo:
    yes, no = max(yes, _LEAST), max(no, _LEAST)
    return YesNo(p=yes / (yes + no), mass=yes + no)


def bare(text: str) -> str:
    """An answer without surrounding spaces and punctuation: "**Yes.**" becomes yes, "Yes, but" does not."""
    return text.strip(_AROUND_WORDS).casefold()


def _by_words(prompt: Prompt, text: str, value: bool | str | list[str], tokens: int) -> Answer:
    if prompt.min_mass or prompt.min_margin:
        return _unknown(prompt, "min_mass and min_margin need a probability; the server gives none", tokens)
    return Answer(prompt_hash=prompt.hash, state=AnswerState.ANSWERED, text=text, value=value, prompt_tokens=tokens)


def _unknown(prompt: Prompt, reason: str, tokens: int) -> Answer:
    return Answer(prompt_hash=prompt.hash, state=AnswerState.UNKNOWN, reason=reason, prompt_tokens=tokens)
