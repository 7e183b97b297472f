"""Whether a verdict states the right answer."""

from __future__ import annotations

import re
import unicodedata

from nightreel.domain import PromptKind, Question, Verdict, VerdictState, bare
from nightreel.domain.numbers import read_number

_ASIDE = re.compile(r"\([^()]*\)")


def check_answer(question: Question, answer: str) -> str | None:
    """Why this cannot be the right answer to a question; None if it can.

    >>> from nightreel.domain import PromptKind, Question
    >>> check_answer(Question(kind=PromptKind.YES_NO, text="Is it red?"), "maybe")
    "the answer 'maybe' is not yes or no"
    """
    match question.kind:
        case PromptKind.YES_NO if bare(answer) not in ("yes", "no"):
            return f"the answer {answer!r} is not yes or no"
        case PromptKind.NUMBER if read_number(answer) is None:
            return f"the answer {answer!r} is not a number"
        case PromptKind.CHOICE | PromptKind.TAGS:
            choices = {bare(choice) for choice in question.choices}
            unknown = [word for word in _tags(answer, question) if word not in choices]
            if unknown:
                return f"the answer {answer!r} is not among {', '.join(question.choices)}"
    return None


def is_right(question: Question, verdict: Verdict, answer: str) -> bool:
    """Whether a verdict states this answer. Unknown and errors are never right.

    A text is right if it contains the words of the answer in their order, whatever their case and accents. An answer
    may list several such texts, separated by |; what stands in round brackets is a remark.

    >>> from nightreel.domain import PromptKind, Question, Verdict, VerdictState
    >>> said = Verdict(state=VerdictState.ANSWERED, value="A gold mirror.", text="A gold mirror.")
    >>> is_right(Question(kind=PromptKind.TEXT, text="What is it?"), said, "silver dish | Gold mirror (a telescope's)")
    True
    """
    if verdict.state is not VerdictState.ANSWERED:
        return False
    match question.kind:
        case PromptKind.YES_NO | PromptKind.CHOICE:
            return bare(verdict.text or "") == bare(answer)
        case PromptKind.NUMBER:
            return verdict.value == read_number(answer)
        case PromptKind.TAGS:
            said = verdict.value if isinstance(verdict.value, list) else []
            return {bare(tag) for tag in said} == set(_tags(answer, question))
    words = f" {_words(verdict.text or '')} "
    wanted = [_words(_ASIDE.sub(" ", one)) for one in answer.split("|")]
    return any(one and f" {one} " in words for one in wanted)


def _tags(answer: str, question: Question) -> list[str]:
    if question.kind is PromptKind.CHOICE:
        return [bare(answer)]
    return [bare(tag) for tag in answer.split(",") if bare(tag) not in ("", "none")]


def _words(text: str) -> str:
    """The words in lower case without accents, separated by single spaces.

    >>> _words("  Café -- SF & L.A.!")
    'cafe sf l a'
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return " ".join(re.findall(r"\w+", plain))
