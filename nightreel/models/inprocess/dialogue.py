"""What the model reads: chat template and tokens, split where the video ends and the question begins.

    <system> <video tokens ...> ANCHOR | lead question tail
    `------- prefix, per segment ----' `-- suffix, per question --'

The anchor is the last added token before the question (the one that ends the video, as a rule). Tokenizers never merge
across an added token, so suffix tokens can be made alone; that they equal the tokens of the whole text is checked for
every segment when it is encoded. Used by `vision` and `local`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from nightreel.errors import PermanentError, SettingsError
from nightreel.reasons import Reason

PROBE = "What is shown?"
"""The question with which segments are encoded. It says nothing to the features: the prefix ends before it."""

_SENTINEL = "Nightreelquestion"


class Dialogue:
    """The chat template of one processor, cut around the question.

    Args:
        processor: a transformers processor that takes videos.

    Raises:
        PermanentError: `unsupported_model` when the template does not hold a video and a question once each.
    """

    def __init__(self, processor: Any) -> None:
        self._tokenizer = processor.tokenizer
        # Tokens that are cut out of a text before it is normalised: nothing merges across them. The unknown token is
        # one of them by its entry, but stands for ordinary text.
        added = {
            id_: token
            for id_, token in self._tokenizer.added_tokens_decoder.items()
            if not token.normalized and id_ != self._tokenizer.unk_token_id
        }
        self._added_ids = frozenset(added)
        added_pattern = _any_of([token.content for token in added.values()])
        placeholders = [getattr(processor, name, None) for name in ("video_token", "image_token")]
        special = [token.content for token in added.values() if token.special]
        self._forbidden = _any_of([*special, *filter(None, placeholders)])
        content = [{"type": "video"}, {"type": "text", "text": _SENTINEL}]
        rendered = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        if rendered.count(_SENTINEL) != 1:
            raise _unsupported(f"its chat template shows a question {rendered.count(_SENTINEL)} times, not once")
        self._head, self._tail = rendered.split(_SENTINEL)
        ends = [match.end() for match in added_pattern.finditer(self._head)]
        if not ends:
            raise _unsupported("its chat template has no special token between the video and the question")
        self._middle = self._head[ends[-1] :]
        self._suffix_ids: dict[tuple[int, str, str], tuple[int, ...]] = {}

    def text(self, question: str) -> str:
        """The whole conversation as the processor takes it, the video still a placeholder."""
        return f"{self._head}{question}{self._tail}"

    def check(self, question: str) -> None:
        """Refuse a question that contains special tokens of the model: they would end the turn or fake a video.

        Raises:
            SettingsError: naming the token.
        """
        found = self._forbidden.search(question)
        if found:
            raise SettingsError(
                f"the question {question!r} contains {found.group()!r}, a special token of this model: reword it"
            )

    def split(self, ids: Sequence[int]) -> tuple[int, str]:
        """Where the prefix of a conversation about PROBE ends, and what text leads from its last token to the question.

        Args:
            ids: tokens of the whole conversation, as the processor made them, video expanded.

        Returns:
            Length of the prefix in tokens, anchor included; the lead (empty for most models).

        Raises:
            PermanentError: `unsupported_model` when the question's tokens depend on what stands before the anchor.
        """
        after_anchor = f"{self._middle}{PROBE}{self._tail}"
        trailing_ids = self._tokenizer(after_anchor, add_special_tokens=False).input_ids
        trailing = sum(id_ in self._added_ids for id_ in trailing_ids)
        places = [place for place, id_ in enumerate(ids) if id_ in self._added_ids]
        if len(places) <= trailing:
            raise _unsupported("its processor leaves no special token between the video and the question")
        end = places[len(places) - 1 - trailing] + 1
        expected = tuple(ids[end:])
        for lead in ("", self._tokenizer.decode(expected).removesuffix(after_anchor)):
            if self.suffix(ids[end - 1], lead, PROBE) == expected:
                return end, lead
        raise _unsupported("its tokenizer merges the end of the video with the question")

    def suffix(self, anchor: int, lead: str, question: str) -> tuple[int, ...]:
        """Tokens of the conversation after the anchor."""
        key = (anchor, lead, question)
        if key not in self._suffix_ids:
            text = f"{self._tokenizer.convert_ids_to_tokens(anchor)}{lead}{self._middle}{question}{self._tail}"
            first, *rest = self._tokenizer(text, add_special_tokens=False).input_ids
            assert first == anchor, f"{first = }, {anchor = }"
            self._suffix_ids[key] = tuple(rest)
        return self._suffix_ids[key]


def _any_of(texts: Sequence[str]) -> re.Pattern[str]:
    """Matches the longest of these texts; none of none."""
    longest_first = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _unsupported(why: str) -> PermanentError:
    return PermanentError(Reason.UNSUPPORTED_MODEL, f"this model cannot be used: {why}")
