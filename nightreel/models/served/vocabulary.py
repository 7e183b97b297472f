"""Tokens of a served model, from its server's tokenizer (`/tokenize` of vLLM): which ids spell an answer.

`scoring` asks for the probabilities of these ids. Thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nightreel.errors import PermanentError
from nightreel.models.served.chat_endpoint import ChatEndpoint
from nightreel.reasons import Reason

_PATH = "/tokenize"
_BEFORE = ("", " ", "\n")  # some tokenizers write a word in another way at the start of a line
_SPACE_MARKS = "▁ĠĊ"  # spaces and line ends in vocabularies


class Token(NamedTuple):
    id: int
    text: str


class Vocabulary:
    """The tokens of one model.

    Args:
        model: its name on the server.
    """

    def __init__(self, endpoint: ChatEndpoint, model: str) -> None:
        self._endpoint, self._model = endpoint, model
        self._known: dict[str, tuple[Token, ...]] = {}

    def of(self, text: str) -> tuple[Token, ...]:
        """The tokens of a text.

        Raises:
            PermanentError: `model_refused` if the server has no tokenizer; `model_protocol`; others as
                `ChatEndpoint.post`.
        """
        if text not in self._known:
            body = {"model": self._model, "prompt": text, "add_special_tokens": False, "return_token_strs": True}
            said = self._endpoint.post(_PATH, body, stop=threading.Event(), is_trial=True)
            ids, texts = said.get("tokens"), said.get("token_strs")
            if (
                not (isinstance(ids, list) and isinstance(texts, list) and len(ids) == len(texts))
                or not all(type(id_) is int for id_ in ids)
                or not all(isinstance(one, str) for one in texts)
            ):
                raise PermanentError(
                    Reason.MODEL_PROTOCOL, f"expected tokens and token_strs from {_PATH}, got {repr(said)[:200]}"
                )
            self._known[text] = tuple(Token(id_, word_of(one)) for id_, one in zip(ids, texts, strict=True))
        return self._known[text]

    def single(self, word: str) -> dict[int, str]:
        """The tokens that spell a whole word, in lower case, with a capital and in upper case, each with the word."""
        found = (self.of(before + form) for before in _BEFORE for form in (word, word.capitalize(), word.upper()))
        return {tokens[-1].id: word for tokens in found if tokens and tokens[-1].text == word}

    def starts(self, texts: Iterable[str]) -> dict[int, set[str]]:
        """The first tokens of these texts, with and without a space before them, each with the texts that it starts."""
        found: dict[int, set[str]] = {}
        for text in texts:
            for before in ("", " "):
                first = next((token for token in self.of(before + text) if token.text), None)
                if first:
                    found.setdefault(first.id, set()).add(text)
        return found

    def has_a_start_of_another(self, texts: Sequence[str]) -> bool:
        """Whether one of these texts, as tokens, is the start of another: only the end of a turn tells them apart."""
        ids = [tuple(token.id for token in self.of(text)) for text in texts]
        return any(one != other and one == other[: len(one)] for one in ids for other in ids)


def word_of(token: str) -> str:
    """The text of a token, without the marks of spaces, in lower case.

    >>> word_of("ĠYes"), word_of("▁no")
    ('yes', 'no')
    """
    return token.strip(_SPACE_MARKS).strip().casefold()
