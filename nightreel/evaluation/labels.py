"""Right answers from a file: CSV with a header, or JSON Lines. One line is one right answer about one video.

    file,prompt,answer                   the answer to a prompt of the prompt set
    file,question,type,answer            the answer to a question of its own

Optional columns `start_s` and `end_s` limit the answer to a part of the video. Other columns are ignored.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightreel.domain import PromptKind
from nightreel.errors import SettingsError
from nightreel.suggestions import did_you_mean, sentence

_KINDS = {
    **{kind.value: kind for kind in (PromptKind.YES_NO, PromptKind.NUMBER, PromptKind.TEXT)},
    "yesno": PromptKind.YES_NO,
    "temporal": PromptKind.YES_NO,
    "count": PromptKind.NUMBER,
    "short": PromptKind.TEXT,
    "ocr": PromptKind.TEXT,
}
"""The names that files of questions use for kinds whose answers can be compared without a list of choices."""
_MOST_BYTES = 256 * 2**20
_MOST_MISTAKES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One right answer.

    Args:
        file: the name of the video below the directory of the videos.
        prompt: the name of a prompt; empty for a question of its own.
        question, kind: the question; empty and None for a prompt. type: the kind, as the file calls it.
        answer: as text: yes, no, a number, a choice, tags joined by commas, or words that a text must contain.
        start_s, end_s: the part of the video; None: up to its end.
        line: of the file.
    """

    file: str
    prompt: str = ""
    question: str = ""
    kind: PromptKind | None = None
    type: str = ""
    answer: str
    start_s: float = 0.0
    end_s: float | None = None
    line: int

    @property
    def asked(self) -> str:
        """What is asked: the prompt's name, or the question."""
        return self.prompt or self.question

    @property
    def group(self) -> str:
        """What a score is about: the prompt's name, or all questions of this type."""
        return self.prompt or f"questions: {self.type}"


def read_labels(path: Path) -> list[Label]:
    """Read a file of right answers.

    Args:
        path: JSON Lines if its name ends in .jsonl, else CSV.

    Raises:
        SettingsError: the file has no label, or mistakes: all of them, one per line, up to twenty.
        OSError: it cannot be read.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise SettingsError(f"{path} is larger than {_MOST_BYTES >> 20} MiB: it cannot be a file of labels")
    labels: list[Label] = []
    mistakes: list[str] = []
    for line, values in _lines(path):
        try:
            labels.append(_label(values, line))
        except ValueError as error:
            mistakes.append(f"{path}:{line}: {error}")
    if mistakes:
        more = len(mistakes) - _MOST_MISTAKES
        raise SettingsError("\n".join(mistakes[:_MOST_MISTAKES] + ([f"and {more} more mistakes"] if more > 0 else [])))
    if not labels:
        raise SettingsError(f"{path} has no labels: expected lines with file, prompt and answer")
    return labels


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    """The lines with their numbers; None for a line that is not an object."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 text (byte {error.start})") from error
    if path.suffix == ".jsonl":
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield number, _json_object(line)
        return
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in rows:
            yield rows.line_num, {key: value or "" for key, value in row.items() if isinstance(key, str)}
    except csv.Error as error:
        raise SettingsError(f"{path}:{rows.line_num}: not CSV: {error}") from error


def _json_object(line: str) -> Mapping[str, Any] | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _label(values: Mapping[str, Any] | None, line: int) -> Label:
    if values is None:
        raise ValueError("expected a JSON object")
    text = {key: _text(values.get(key)) for key in ("file", "prompt", "question", "type", "answer")}
    for key in ("file", "answer"):
        if not text[key]:
            raise ValueError(f"no {key!r}")
    if bool(text["prompt"]) == bool(text["question"]):
        raise ValueError("expected either a 'prompt' or a 'question'")
    start_s, end_s = _seconds(values.get("start_s"), "start_s"), _seconds(values.get("end_s"), "end_s")
    if end_s is not None and end_s <= (start_s or 0.0):
        raise ValueError(f"end_s={end_s:g} is not after start_s={start_s or 0.0:g}")
    return Label(
        file=text["file"],
        prompt=text["prompt"],
        question=text["question"],
        kind=_kind(text["type"]) if text["question"] else None,
        type=text["type"],
        answer=text["answer"],
        start_s=start_s or 0.0,
        end_s=end_s,
        line=line,
    )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None or isinstance(value, dict | list) else str(value).strip()


def _seconds(value: Any, name: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{name}={value!r}: expected seconds")
    return seconds


def _kind(name: str) -> PromptKind:
    if name not in _KINDS:
        raise ValueError(
            sentence(f"type {name!r} is unknown", did_you_mean(name, _KINDS), f"expected one of {', '.join(_KINDS)}")
        )
    return _KINDS[name]
