"""Token sequences of the answers that are scored: yes, no, the choices, the numbers of a range.

`rows` gets the continuations to score from it, `scoring` reads the scores with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nightreel.domain import Prompt, PromptKind

_WORDS = ("yes", "no")
_LONGEST_FORM = 8


@dataclass(frozen=True, slots=True)
class YesNoForms:
    """The tokens of a vocabulary for "yes" and "no".

    Args:
        single: token ids of each word if both have single-token forms ("yes", "Yes", " yes", "YES", ...).
        branches: token sequences of each word, scored as branches if `single` is None.
    """

    single: tuple[tuple[int, ...], tuple[int, ...]] | None
    branches: tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]


class AnswerTokens:
    """Token sequences of answers.

    Args:
        tokenizer: of a transformers processor.
    """

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
        """Token sequences of a word: with its first letter in either case, with and without a leading space."""
        if word not in self._forms:
            spellings = [space + form for space in ("", " ") for form in (word, word[:1].swapcase() + word[1:])]
            ids = (tuple(self._tokenizer(text, add_special_tokens=False).input_ids) for text in spellings)
            self._forms[word] = tuple(dict.fromkeys(ids))
        return self._forms[word]

    def whole(self, number: int) -> tuple[tuple[int, ...], ...]:
        """Token sequences of a number as the whole answer, with the end of the turn: 1 is then not a prefix of 12."""
        return tuple((*form, *self._end) for form in self.forms(str(number)))

    def branches(self, prompt: Prompt) -> tuple[tuple[int, ...], ...]:
        """The continuations to score for each question of a prompt."""
        if prompt.numbers:
            return tuple(form for number in prompt.numbers for form in self.whole(number))
        if prompt.kind is PromptKind.CHOICE:
            return tuple(form for choice in prompt.choices for form in self.forms(choice))
        if prompt.kind.scored and self.yes_no.single is None:
            return self.yes_no.branches[0] + self.yes_no.branches[1]
        return ()
