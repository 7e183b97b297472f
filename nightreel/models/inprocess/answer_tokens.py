"""Token sequences of the answers that are scored: yes, no, the choices, the numbers of a range.

`rows` gets the continuations to score from it, `scoring` reads the scores with it. `problem` says why the answers to a
question cannot be told apart by their tokens: a score of such answers would mean nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nightreel.domain import PromptKind, Question

_WORDS = ("yes", "no")
_LONGEST_FORM = 8

Form = tuple[int, ...]
"""The tokens of one spelling of an answer."""


@dataclass(frozen=True, slots=True)
class YesNoForms:
    """The tokens of a vocabulary for "yes" and "no".

    Args:
        single: token ids of each word if both have single-token forms ("yes", "Yes", " yes", "YES", ...).
        branches: token sequences of each word, scored as branches if `single` is None.
    """

    single: tuple[tuple[int, ...], tuple[int, ...]] | None
    branches: tuple[tuple[Form, ...], tuple[Form, ...]]


class AnswerTokens:
    """Token sequences of answers.

    Args:
        tokenizer: of a transformers processor.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        end = tokenizer.eos_token_id
        self._end: Form = () if end is None else (end,)
        self._forms: dict[str, tuple[Form, ...]] = {}
        self._problems: dict[Question, str | None] = {}
        self._starts: dict[tuple[str, ...], tuple[str, str] | None] = {}
        found: dict[str, list[int]] = {word: [] for word in _WORDS}
        for token, id_ in tokenizer.get_vocab().items():
            if len(token) <= _LONGEST_FORM and any(word in token.lower() for word in _WORDS):
                word = tokenizer.decode([id_]).strip().lower()
                if word in found:
                    found[word].append(id_)
        yes, no = (tuple(sorted(found[word])) for word in _WORDS)
        self.yes_no = YesNoForms((yes, no) if yes and no else None, (self.forms("yes"), self.forms("no")))

    def forms(self, word: str) -> tuple[Form, ...]:
        """Token sequences of a word: with its first letter in either case, with and without a leading space.

        Spellings that the tokenizer cannot write are left out, unless it can write none.
        """
        if word not in self._forms:
            written = self._spellings(word)
            self._forms[word] = self._legible(word, written) or written
        return self._forms[word]

    def whole(self, number: int) -> tuple[Form, ...]:
        """Token sequences of a number as the whole answer, with the end of the turn: 1 is then not a prefix of 12."""
        return tuple((*form, *self._end) for form in self.forms(str(number)))

    def branches(self, question: Question) -> tuple[Form, ...]:
        """The continuations to score for each question of a question.

        Choices get the end of the turn only if one of them is the start of another: a model that answers "sports" gives
        "sport" the same tokens, and only the end tells the two apart.
        """
        if question.numbers:
            return tuple(form for number in question.numbers for form in self.whole(number))
        if question.kind is PromptKind.CHOICE:
            end = self._end if self._starts_another(question.choices) else ()
            return tuple((*form, *end) for choice in question.choices for form in self.forms(choice))
        if question.kind.scored and self.yes_no.single is None:
            return self.yes_no.branches[0] + self.yes_no.branches[1]
        return ()

    def problem(self, question: Question) -> str | None:
        """Why scores of the answers to a question would mean nothing; None if they mean something, or it has none."""
        if question not in self._problems:
            self._problems[question] = self._problem(question)
        return self._problems[question]

    def _problem(self, question: Question) -> str | None:
        match question.kind:
            case PromptKind.YES_NO:
                return self._of_yes_no()
            case PromptKind.TAGS:  # their words are in the questions, and the answers are yes and no
                asked = {tag: self._legible(tag, self._forms_of(f" {tag}")) for tag in question.choices}
                return self._indistinct(asked) or self._of_yes_no()
        words = question.choices or tuple(map(str, question.numbers))
        problem = self._indistinct({word: self._legible(word, self._spellings(word)) for word in words})
        if problem is None and not self._end and (starts := self._starts_another(words)):
            return f"{starts[0]!r} is the start of {starts[1]!r}, and this tokenizer has no token that ends a turn"
        return problem

    def _of_yes_no(self) -> str | None:
        if self.yes_no.single is not None:
            return None
        return self._indistinct({word: self._legible(word, self._spellings(word)) for word in _WORDS})

    def _indistinct(self, written: Mapping[str, tuple[Form, ...]]) -> str | None:
        """Why words with these legible forms cannot be told apart, or None."""
        unknown = [word for word, forms in written.items() if not forms]
        if unknown:
            return f"this tokenizer has no tokens for {', '.join(map(repr, unknown))}"
        word_of: dict[Form, str] = {}
        for word, forms in written.items():
            for form in forms:
                other = word_of.setdefault(form, word)
                if other != word:
                    return f"this tokenizer writes {other!r} and {word!r} with the same tokens"
        return None

    def _starts_another(self, words: tuple[str, ...]) -> tuple[str, str] | None:
        """Two words of which one, as tokens, is the start of the other; None if there are none."""
        if words not in self._starts:
            begun = {form[:end]: word for word in words for form in self.forms(word) for end in range(1, len(form))}
            found = ((word, begun[form]) for word in words for form in self.forms(word) if form in begun)
            self._starts[words] = next((pair for pair in found if pair[0] != pair[1]), None)
        return self._starts[words]

    def _legible(self, word: str, forms: tuple[Form, ...]) -> tuple[Form, ...]:
        """The forms that the tokenizer can write: decoded, their tokens give the word again."""
        unknown = getattr(self._tokenizer, "unk_token_id", None)
        return tuple(
            form
            for form in forms
            if form and unknown not in form and _letters(self._tokenizer.decode(list(form))) == _letters(word)
        )

    def _spellings(self, word: str) -> tuple[Form, ...]:
        return self._forms_of(*(space + form for space in ("", " ") for form in (word, word[:1].swapcase() + word[1:])))

    def _forms_of(self, *texts: str) -> tuple[Form, ...]:
        ids = (tuple(self._tokenizer(text, add_special_tokens=False).input_ids) for text in texts)
        return tuple(dict.fromkeys(ids))


def _letters(text: str) -> str:
    """A text without what tokenizers may change in it: case, accents, spaces, and compatible forms of a character.

    >>> _letters("Café  NOIR"), _letters("ＡＢ")
    ('cafenoir', 'ab')
    """
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in plain if not unicodedata.combining(letter) and not letter.isspace())
