"""The conversation with the model: chat template and tokens, split between the video and the question.

    <system> <video tokens ...> ANCHOR | lead question tail
    `------- prefix, per segment ----' `-- suffix, per question --'

The anchor is the last added token before the question (usually the token that ends the video). Tokenizers never merge
across an added token, so the suffix can be tokenized alone. Encoding checks for every segment that the result equals
the tokens of the whole text. `vision` and `local` use this module.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from nightreel.errors import PermanentError, SettingsError
from nightreel.reasons import Reason

PROBE = "What is shown?"
"""The question with which segments are encoded. It does not affect the features, because the prefix ends before it."""

_SENTINEL = "Nightreelquestion"
_VIDEO = {"type": "video"}
_TEXT = {"type": "text", "text": _SENTINEL}


def template_problem(processor: Any) -> str | None:
    """Why the chat template of a processor cannot show a video and a question to its model; None if it can.

    Without this check, each video would fail with the same error, or the model would answer without seeing any video.
    """
    if not getattr(processor, "chat_template", None):
        return (
            "it has no chat template: use a model that was tuned for chat, or copy the chat_template.jinja of the "
            "original model into its directory"
        )
    try:
        with_video, without = _rendered(processor, _VIDEO, _TEXT), _rendered(processor, _TEXT)
    except Exception as error:  # noqa: BLE001 - a template is a program that comes with the model
        return f"its chat template fails on a message with a video and a text: {type(error).__name__}: {error}"
    if with_video == without:
        return "its chat template leaves videos out: use the template of a model for videos"
    return None


def _rendered(processor: Any, *content: dict[str, str]) -> str:
    """A message with this content, as text for the model."""
    messages = [{"role": "user", "content": list(content)}]
    rendered: str = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return rendered


class Dialogue:
    """The chat template of one processor, cut around the question.

    Args:
        processor: a transformers processor that takes videos.

    Raises:
        PermanentError: `unsupported_model` if the template does not contain the video and the question once each.
    """

    def __init__(self, processor: Any) -> None:
        self._tokenizer = processor.tokenizer
        # Added tokens are cut out of a text before it is normalised, so nothing merges across them. The unknown token
        # is listed among them, but represents ordinary text.
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
        rendered = _rendered(processor, _VIDEO, _TEXT)
        if rendered.count(_SENTINEL) != 1:
            raise _unsupported(f"its chat template shows a question {rendered.count(_SENTINEL)} times, not once")
        self._head, self._tail = rendered.split(_SENTINEL)
        ends = [match.end() for match in added_pattern.finditer(self._head)]
        if not ends:
            raise _unsupported("its chat template has no special token between the video and the question")
        video = getattr(processor, "video_token", None)
        if video and video not in self._head:
            raise _unsupported(f"its chat template does not put the video ({video}) before the question")
        self._middle = self._head[ends[-1] :]
        self._processor = processor
        self._suffix_ids: dict[tuple[int, str, str], tuple[int, ...]] = {}

    def text(self, question: str) -> str:
        """The whole conversation for the processor, with a placeholder for the video."""
        return f"{self._head}{question}{self._tail}"

    def check(self, question: str) -> None:
        """Refuse a question that contains special tokens of the model: they could end the turn or fake a video.

        Raises:
            SettingsError: the question contains a special token, which the message names.
        """
        found = self._forbidden.search(question)
        if found:
            raise SettingsError(
                f"the question {question!r} contains {found.group()!r}, a special token of this model: reword it"
            )

    def split(self, ids: Sequence[int]) -> tuple[int, str]:
        """Split a conversation about PROBE into prefix and suffix.

        Args:
            ids: tokens of the whole conversation from the processor, with the video expanded.

        Returns:
            The length of the prefix in tokens, including the anchor; and the lead, the text that the processor adds
            after the anchor (empty for most models).

        Raises:
            PermanentError: `unsupported_model` if the question's tokens depend on the text before the anchor.
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
        """The tokens of the conversation after the anchor."""
        key = (anchor, lead, question)
        if key not in self._suffix_ids:
            text = f"{self._tokenizer.convert_ids_to_tokens(anchor)}{lead}{self._middle}{question}{self._tail}"
            first, *rest = self._tokenizer(text, add_special_tokens=False).input_ids
            assert first == anchor, f"{first = }, {anchor = }"
            self._suffix_ids[key] = tuple(rest)
        return self._suffix_ids[key]

    def before_question(self, text: str) -> tuple[int, ...]:
        """The tokens of a conversation without a video, up to a question that follows this text.

        The text is untrusted: special tokens in it are taken apart, so that it cannot end the turn.

        Raises:
            PermanentError: `unsupported_model` if the template does not contain the text once.
        """
        while self._forbidden.search(text):
            text = self._forbidden.sub(lambda found: " ".join(found.group()) if len(found.group()) > 1 else "", text)
        return tuple(self._tokenizer(f"{self._around_notes[0]}{text}").input_ids)

    def after_notes(self, question: str) -> tuple[int, ...]:
        """The tokens of a question after `before_question`."""
        return tuple(self._tokenizer(f"{question}{self._around_notes[1]}", add_special_tokens=False).input_ids)

    @cached_property
    def _around_notes(self) -> tuple[str, str]:
        """The conversation without a video, before and after its text."""
        rendered = _rendered(self._processor, _TEXT)
        if rendered.count(_SENTINEL) != 1:
            raise _unsupported(f"its chat template shows a text without a video {rendered.count(_SENTINEL)} times")
        head, tail = rendered.split(_SENTINEL)
        return head, tail


def _any_of(texts: Sequence[str]) -> re.Pattern[str]:
    """A pattern that matches the longest of these texts; it matches nothing if there are none."""
    longest_first = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _unsupported(why: str) -> PermanentError:
    return PermanentError(Reason.UNSUPPORTED_MODEL, f"this model cannot be used: {why}")
