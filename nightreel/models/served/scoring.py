"""The probabilities of the allowed answers to one question, in the best way that the server offers.

    chosen tokens      one request for one token: the server gives the probability of each token that spells an answer
    joint scores       one more request for each answer that is likely by its first token, if other answers share it or
                       the answer needs an end: the server gives the probability of each token of the answer
    a chosen text      the server writes one of the answers and no other text
    the likeliest      what else is there: up to 20 first tokens, and the text

`remote` calls it, `completions` reads the replies. It does not know how requests are sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os.path import commonprefix
from typing import Any

from nightreel.domain import PromptKind, Question
from nightreel.models.answering import Distribution
from nightreel.models.served.completions import Completion, chosen_probabilities, prompt_score, read_completion
from nightreel.models.served.probe import Server
from nightreel.models.served.vocabulary import Vocabulary

Send = Callable[[Mapping[str, Any], Sequence[Mapping[str, str]]], Mapping[str, Any]]
"""Sends the question with more fields of a request and more messages, and returns the completion."""

_MOST_CHOSEN = 128  # tokens in a request to vLLM
_MOST_JOINT = 16  # answers: each costs a prefill
_LIKELY = 1e-3  # of first tokens: what is less likely keeps that probability
_LEAST = 1e-12
_SPELT_TOKENS = 8  # usually the word and the end of the turn; more tokens show that the text continues
_GREEDY = {"temperature": 0}
_ONE_TOKEN = {**_GREEDY, "max_tokens": 1}


def is_scored(question: Question, server: Server) -> bool:
    """Whether the server gives probabilities of the answers to a question, instead of a text alone."""
    return question.kind.scored or (bool(question.numbers) and server.scores_tokens and server.scores_prompts)


def ask_scored(question: Question, send: Send, *, server: Server, vocabulary: Vocabulary) -> Completion:
    """Ask one scored question.

    Raises:
        NightreelError: as `send`.
    """
    if question.kind in (PromptKind.YES_NO, PromptKind.TAGS):
        return _yes_no(question, send, server, vocabulary)
    answers = question.choices or tuple(map(str, question.numbers))
    starts = vocabulary.starts(form for answer in answers for form in _forms(answer)) if server.scores_tokens else {}
    found = _chosen(send, starts) if 0 < len(starts) <= _MOST_CHOSEN else None
    if found is None:
        return _likeliest(question, send, server)
    completion, by_id = found
    texts = {id_: commonprefix([form.casefold() for form in starts[id_]]) for id_ in by_id}  # noqa: RUF071 - no paths
    completion = replace(completion, listed=tuple((texts[id_], p) for id_, p in by_id.items()), lists_all=True)
    begun = {answer: [id_ for id_ in by_id if starts[id_].intersection(_forms(answer))] for answer in answers}
    masses = {answer: sum(by_id[id_] for id_ in ids) for answer, ids in begun.items()}
    shared = sum(p for id_, p in by_id.items() if sum(id_ in ids for ids in begun.values()) > 1)
    if question.choices and shared < _LIKELY:
        return replace(completion, distribution=_distribution(masses))
    likely = [answer for answer, mass in masses.items() if mass >= _LIKELY]
    if question.choices and not (server.scores_prompts and len(likely) <= _MOST_JOINT):
        return _with_text(question, send, server, completion)
    to_the_end = bool(question.numbers) or vocabulary.has_a_start_of_another(answers)
    joint = dict(masses)
    for answer in likely:
        form = max(_forms(answer), key=lambda form: sum(p for id_, p in by_id.items() if form in starts[id_]))
        score = _joint(form, send, start=completion.prompt_tokens, to_the_end=to_the_end)
        if score is None:
            return _with_text(question, send, server, completion) if question.choices else completion
        joint[answer] = math.exp(score)
    return replace(completion, distribution=_distribution(joint))


def _yes_no(question: Question, send: Send, server: Server, vocabulary: Vocabulary) -> Completion:
    if server.scores_tokens:
        yes, no = vocabulary.single("yes"), vocabulary.single("no")
        found = _chosen(send, yes | no) if yes and no else None
        if found:
            completion, by_id = found
            listed = [(word, sum(by_id[id_] for id_ in ids)) for word, ids in (("yes", yes), ("no", no))]
            return replace(completion, listed=tuple(listed), lists_all=True)
    return _likeliest(question, send, server)


def _chosen(send: Send, ids: Mapping[int, Any]) -> tuple[Completion, dict[int, float]] | None:
    """The probabilities of these tokens as the first one; None if the server does not give each."""
    options = {"logprobs": True, "logprob_token_ids": sorted(ids), "return_tokens_as_token_ids": True}
    reply = send({**_ONE_TOKEN, **options}, ())
    by_id = chosen_probabilities(reply, ids)
    return (read_completion(reply), by_id) if by_id else None


def _joint(answer: str, send: Send, *, start: int, to_the_end: bool) -> float | None:
    """The log-probability of an answer, the sum of those of its tokens; None if the server does not give it.

    Args:
        start: number of tokens before the answer. to_the_end: includes the end of the turn.
    """
    options = {
        **_ONE_TOKEN,
        "prompt_logprobs": 0,
        "add_generation_prompt": False,
        "continue_final_message": not to_the_end,
    }
    reply = send(options, [{"role": "assistant", "content": answer}])
    return prompt_score(reply, answer, start=start, to_the_end=to_the_end)


def _likeliest(question: Question, send: Send, server: Server) -> Completion:
    """The text, and the likeliest first tokens."""
    listing = {"logprobs": True, "top_logprobs": server.candidates} if server.candidates else {}
    if question.kind is PromptKind.CHOICE and server.chooses:
        return _with_text(question, send, server, read_completion(send({**_ONE_TOKEN, **listing}, ())))
    # a word has at most as many tokens as bytes
    longest = max((len(choice.encode()) for choice in question.choices), default=0)
    return read_completion(send({**_GREEDY, "max_tokens": _SPELT_TOKENS + longest, **listing}, ()))


def _with_text(question: Question, send: Send, server: Server, listed: Completion) -> Completion:
    """The first tokens, and the text of one of the answers."""
    longest = max(len(answer.encode()) for answer in question.choices)
    only = {"structured_outputs": {"choice": list(question.choices)}} if server.chooses else {}
    reply = read_completion(send({**_GREEDY, "max_tokens": _SPELT_TOKENS + longest, **only}, ()))
    return replace(listed, text=reply.text, withheld=listed.withheld or reply.withheld)


def _distribution(masses: Mapping[str, float]) -> Distribution:
    mass = sum(masses.values())
    floored = {answer: max(p, _LEAST) for answer, p in masses.items()}
    return Distribution({answer: p / sum(floored.values()) for answer, p in floored.items()}, mass)


def _forms(answer: str) -> tuple[str, ...]:
    """An answer with its first letter in either case."""
    return tuple(dict.fromkeys((answer, answer[:1].swapcase() + answer[1:])))
