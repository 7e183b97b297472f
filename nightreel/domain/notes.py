"""Notes: what was said of the segments of a video, as the text that questions about the whole video are asked over.

    0-30 s: "a dog runs on a beach"; Where does it take place? outdoors
    30-60 s: "two people swim"

A note says what was measured, whatever the policies are: a policy never asks again. Texts come from models that saw
untrusted videos: they are quoted as JSON strings, so that no text can look like another note, or like the end of the
notes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nightreel.domain.answers import Answer, AnswerState
from nightreel.domain.identity import content_hash
from nightreel.domain.questions import PromptKind, Question
from nightreel.domain.structures import KEYWORDS, normalised, read_object, text_of

_LIKELY = 0.5
_LONGEST_TEXT = 1000  # characters of one text in a note
_GAP_S = 1e-3


@dataclass(frozen=True, slots=True)
class Note:
    """What was said of `start_s <= t < end_s`."""

    start_s: float
    end_s: float
    said: tuple[str, ...]

    def __str__(self) -> str:
        return f"{_seconds(self.start_s)}-{_seconds(self.end_s)} s: {'; '.join(self.said)}"

    @property
    def size_bytes(self) -> int:
        return len(str(self).encode()) + 1


@dataclass(frozen=True, slots=True)
class Notes:
    """The notes of one video, in the order of time.

    Args:
        answer_ids: of the rows of the answers that they say; copies of an answer count as the answer.
    """

    notes: tuple[Note, ...]
    answer_ids: tuple[int, ...]

    @property
    def key(self) -> str:
        """What identifies them: the answers that they were made from."""
        return content_hash(list(self.answer_ids))


def said(question: Question, answer: Answer) -> str | None:
    """What an answer says in a note; None if it says nothing, such as "no" or no tag."""
    if answer.state is not AnswerState.MEASURED:
        return None
    text = (answer.text or "").strip()
    match question.kind:
        case PromptKind.CAPTION | PromptKind.TEXT:
            return quoted(text) if text else None
        case PromptKind.KEYWORDS | PromptKind.OBJECT:
            found = read_object(text, question.form)
            if isinstance(found, str):
                return None
            if question.kind is PromptKind.OBJECT:
                return text_of(found)
            words = normalised(found[KEYWORDS], most=question.most)
            return quoted(", ".join(words)) if words else None
        case PromptKind.YES_NO:
            holds = answer.scores["yes"] >= _LIKELY if answer.scores else text.casefold() == "yes"
            return f"{question.text} yes" if holds else None
        case PromptKind.TAGS:
            tags = [tag for tag in question.choices if (answer.scores or {}).get(tag, 0.0) >= _LIKELY]
            return f"{question.text}: {', '.join(tags)}" if tags else None
    if answer.scores:
        text = max(answer.scores, key=answer.scores.__getitem__)
    return f"{question.text} {quoted(text) if answer.scores is None else text}" if text else None


def quoted(text: str) -> str:
    """A text as one JSON string, on one line, cut if it is very long."""
    cut = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
    return json.dumps(cut, ensure_ascii=False)


def joined(notes: Iterable[Note]) -> tuple[Note, ...]:
    """The notes that say something; those that follow each other and say the same are one."""
    found: list[Note] = []
    for note in notes:
        if not note.said:
            continue
        if found and found[-1].said == note.said and note.start_s <= found[-1].end_s + _GAP_S:
            found[-1] = Note(found[-1].start_s, note.end_s, note.said)
        else:
            found.append(note)
    return tuple(found)


def parts(notes: Sequence[Note], *, most_bytes: int) -> list[tuple[Note, ...]]:
    """Notes in parts of at most this size, in the order of time; a longer note is cut."""
    found: list[list[Note]] = []
    size = most_bytes
    for note in notes:
        if note.size_bytes > most_bytes:
            note = _cut(note, most_bytes)
        if size + note.size_bytes > most_bytes:
            found.append([])
            size = 0
        found[-1].append(note)
        size += note.size_bytes
    return [tuple(part) for part in found]


def _cut(note: Note, most_bytes: int) -> Note:
    bare = Note(note.start_s, note.end_s, ())
    room = most_bytes - bare.size_bytes
    return Note(note.start_s, note.end_s, ("; ".join(note.said).encode()[:room].decode(errors="ignore"),))


def _seconds(seconds: float) -> str:
    return f"{round(seconds, 1):.10g}"
