"""Which prompts a model on a server can be asked: refused before any video is touched, not by the first video.

`remote` calls it, and so do the checks before a run claims videos. The server's tokenizer is not known here: an answer
counts only if its text is exactly one allowed answer, so answers must differ as texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from nightreel.domain import Prompt, PromptKind, bare
from nightreel.errors import SettingsError
from nightreel.prompts.wording import texts_of

_SPECIAL_TOKEN = re.compile(r"<\|[^<>|]*\|>|</?s>|<(?:image|video|IMG_CONTEXT)>|</?img>")


def require_askable(prompts: Iterable[Prompt]) -> None:
    """Refuse prompts that a server would misread or cannot answer.

    Raises:
        SettingsError: one line for each problem.
    """
    problems = [f"prompt {prompt.name!r}: {problem}" for prompt in prompts for problem in _problems(prompt)]
    if problems:
        raise SettingsError("\n".join(problems))


def without_special_tokens(text: str) -> str:
    """An untrusted text in which what looks like a special token is taken apart, so that it cannot end the turn."""
    while _SPECIAL_TOKEN.search(text):
        text = _SPECIAL_TOKEN.sub(lambda found: " ".join(found.group()), text)
    return text


def _problems(prompt: Prompt) -> Iterator[str]:
    question = prompt.question
    for text in texts_of(question):
        found = _SPECIAL_TOKEN.search(text)
        if found:
            yield f"the question {text!r} contains {found.group()!r}, a special token: reword it"
    if not question.kind.scored and question.decoding.beams > 1:
        yield "a model on a server does not support beam search: remove `beams`"
    if question.kind is PromptKind.CHOICE:
        yield from _alike(question.choices)


def _alike(choices: Iterable[str]) -> Iterator[str]:
    """Choices that an answer of the server cannot name: without punctuation they are empty, or equal."""
    read: dict[str, str] = {}
    for choice in choices:
        other = read.setdefault(bare(choice), choice)
        if not bare(choice):
            yield f"the choice {choice!r} has no letter or digit: use other words"
        elif other is not choice:
            yield f"the choices {other!r} and {choice!r} cannot be told apart in an answer: use other words"
