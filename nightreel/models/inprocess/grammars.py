"""Hold a text to the form of its question while it is generated: tokens that would leave the form are not chosen.

    question.schema  ->  Grammar, once a question  ->  Writing, once a text:  allowed tokens, token, allowed tokens, ...

llguidance computes which tokens may follow. A text that has the form anyway stays as it is, token for token, because
only tokens outside of it are ruled out. `rows` takes a Grammar for each row, `generation` writes with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from llguidance import LLExecutor, LLMatcher, LLTokenizer, TokenizerWrapper
from llguidance.hf import from_tokenizer

from nightreel.domain import Question

_SILENT = 0
_SPACES = r"[ \n\t]{0,12}"  # between the marks of JSON: a model that writes spaces for ever is stopped
_BEFORE = r"[ \n]{0,2}"  # the object: many tokenizers begin a text with a space
_WORD_BITS = 32


class Grammars:
    """The grammars of questions for one tokenizer.

    Args:
        tokenizer: of a transformers processor.
        end_ids: tokens that end a text.
    """

    def __init__(self, tokenizer: Any, *, end_ids: Iterable[int]) -> None:
        self._tokenizer = tokenizer
        self._end_ids = sorted(end_ids)
        self._grammars: dict[Question, Grammar] = {}

    def of(self, question: Question) -> Grammar | None:
        """The grammar of a question's answers; None if they have no form."""
        if question.schema is None:
            return None
        if question not in self._grammars:
            self._grammars[question] = Grammar(self._tokens, _grammar(question.schema))
        return self._grammars[question]

    def problem(self, question: Question) -> str | None:
        """Why this tokenizer cannot write the answers to a question; None if it can."""
        if question.schema is None:
            return None
        try:
            failed, messages = LLMatcher.validate_grammar_with_warnings(_grammar(question.schema), self._tokens)
        except ValueError as error:
            return f"the tokens of this model cannot be read: {error}"
        if failed:
            return " ".join(messages)
        texts = [json.dumps(text) for field in question.form for text in (field.name, *field.choices)]
        unknown = [text for text in texts if not self._can_write(text)]
        return f"this tokenizer has no tokens for {', '.join(unknown)}" if unknown else None

    def _can_write(self, text: str) -> bool:
        """Whether there are tokens for a text, with or without a space before it."""
        forms = (text, f" {text}")
        return any(self._tokens.decode_bytes(self._tokens.greedy_tokenize(form)) == form.encode() for form in forms)

    @cached_property
    def _tokens(self) -> LLTokenizer:
        """Raises ValueError for a tokenizer whose tokens are not pieces of text."""
        try:
            return from_tokenizer(self._tokenizer, eos_token=self._end_ids)
        except ValueError:  # its decoder is neither of bytes nor of byte fallback
            return LLTokenizer(TokenizerWrapper(_Words(self._tokenizer)), eos_token=self._end_ids, slices=[])


class Grammar:
    """The form of the answers to one question."""

    def __init__(self, tokens: LLTokenizer, grammar: str) -> None:
        self.tokens = tokens
        self._start = LLMatcher(tokens, grammar, log_level=_SILENT)

    def start(self) -> LLMatcher:
        """A matcher of a new text."""
        return self._start.deep_copy()

    @staticmethod
    def allowed(matcher: LLMatcher) -> list[int]:
        """The tokens that keep the form after what a matcher has read; none if it is whole and cannot end."""
        return np.frombuffer(matcher.compute_logit_bias(), np.uint8).nonzero()[0].tolist()


class Masks:
    """The matchers of the texts that are being generated, by index of their row.

    Args:
        grammars: of those rows whose answers have a form.
    """

    def __init__(self, grammars: Mapping[int, Grammar]) -> None:
        self._matchers = {row: grammar.start() for row, grammar in grammars.items()}
        self._words = max((grammar.tokens.vocab_size for grammar in grammars.values()), default=0)
        self._executor = LLExecutor() if grammars else None

    def holds(self, row: int) -> bool:
        """Whether the text of a row has a form."""
        return row in self._matchers

    def applied(self, rows: Sequence[int | None], logits: torch.Tensor) -> torch.Tensor:
        """Logits (n, V) of these rows, minus infinity for the tokens that leave the form. None: no row."""
        held = [(self._matchers[row], place) for place, row in enumerate(rows) if row is not None and self.holds(row)]
        if self._executor is None or not held:
            return logits
        bits = np.full((len(rows), -(-self._words // _WORD_BITS)), -1, np.int32)
        self._executor.unsafe_compute_mask_ptr(held, bits.ctypes.data, bits.shape[1] * 4, len(rows))
        allowed = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")[:, : logits.shape[1]].astype(bool)
        padded = np.zeros(logits.shape, bool)
        padded[:, : allowed.shape[1]] = allowed
        free = [place for place, row in enumerate(rows) if row is None or not self.holds(row)]
        padded[free] = True
        return logits.masked_fill(~torch.from_numpy(padded).to(logits.device), -torch.inf)

    def accepts(self, row: int, token: int) -> bool:
        """Go on after a token. False: the text cannot get its form any more, as if the grammar grew too large."""
        return not self.holds(row) or bool(self._matchers[row].consume_token(token))


class _Words:
    """The tokens of a tokenizer whose decoder is not of bytes: each as it is written after another one."""

    def __init__(self, tokenizer: Any) -> None:
        self.eos_token_id, self.bos_token_id = tokenizer.eos_token_id, None
        self.special_token_ids = list(tokenizer.all_special_ids)
        special = {*self.special_token_ids}
        ordinary = next(id_ for id_ in range(len(tokenizer)) if id_ not in special)
        before = len(tokenizer.decode([ordinary]))
        self.tokens = [
            (
                tokenizer.convert_ids_to_tokens(id_) if id_ in special else tokenizer.decode([ordinary, id_])[before:]
            ).encode()
            for id_ in range(len(tokenizer))
        ]

    def __call__(self, _: str) -> list[int]:
        return []


def _grammar(schema: Mapping[str, Any]) -> str:
    held = json.dumps({**schema, "x-guidance": {"whitespace_pattern": _SPACES}})
    grammar: str = LLMatcher.grammar_from_lark(f"start: SPACES object\nSPACES: /{_BEFORE}/\nobject: %json {held}")
    return grammar
