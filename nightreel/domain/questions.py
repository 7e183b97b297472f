"""Questions: what a model is given, and how its answer is read. The hash of a question is its identity.

Everything that only decides what an answer means is policy (`policies.py`), and changes without asking again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from nightreel.domain.identity import content_hash
from nightreel.domain.structures import Field, keyword_field, schema_of_fields

WORDING_VERSION = 1
"""Version of the instructions that `nightreel.prompts.wording` adds to a question's text. Part of every hash."""
MOST_SCORED_NUMBERS = 20
"""Largest distance between the bounds of a number question whose integers are scored one by one, as 0 to 20."""


class PromptKind(StrEnum):
    CAPTION = "caption"
    TEXT = "text"
    YES_NO = "yes_no"
    NUMBER = "number"
    CHOICE = "choice"
    TAGS = "tags"
    KEYWORDS = "keywords"
    OBJECT = "object"

    @property
    def scored(self) -> bool:
        """Whether answers of this kind always come from next-token scores, not from generated text."""
        return self in (PromptKind.YES_NO, PromptKind.CHOICE, PromptKind.TAGS)


class Level(StrEnum):
    """What a question is about."""

    SEGMENT = "segment"
    VIDEO = "video"  # the whole video: what was said of all its segments, without frames


class Language(StrEnum):
    """The language of the instruction that is added to a question's text."""

    ENGLISH = "en"
    CHINESE = "zh"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOptions:
    """How a text is generated, token by token. The default is greedy: always the likeliest token.

    Args:
        temperature: above 0, tokens are drawn at random; below 1 it sharpens, above 1 it flattens the probabilities.
        top_k: draw from the k likeliest tokens only; 0 for all.
        top_p: draw from the likeliest tokens that together hold this share of the probability.
        seed: of the draws.
        repetition_penalty: above 1, tokens that are already in the prompt or the text become less likely.
        beams: number of texts to search in parallel; the likeliest one is the result.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    repetition_penalty: float = 1.0
    beams: int = 1


GREEDY = GenerationOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a model is asked about a segment.

    Args:
        choices: choice and tags: the allowed answers.
        max_new_tokens: caption, text and number: the longest text.
        minimum, maximum: number: in a narrow range each number is scored, unless `decoding` is set.
        decoding: caption, text and number: how tokens are chosen.
        language: of the instruction that is added to the text.
        most: keywords: how many.
        fields: object: what it holds.
        level: what the question is about.
        over: level video: hashes of the questions whose answers are the notes that the model is given.
        notes_bytes: level video: the most that it is given at a time; longer notes are summed up first.
    """

    kind: PromptKind
    text: str
    choices: tuple[str, ...] = ()
    max_new_tokens: int = 64
    minimum: float | None = None
    maximum: float | None = None
    decoding: GenerationOptions = GREEDY
    language: Language = Language.ENGLISH
    most: int = 0
    fields: tuple[Field, ...] = ()
    level: Level = Level.SEGMENT
    over: tuple[str, ...] = ()
    notes_bytes: int = 0

    @property
    def form(self) -> tuple[Field, ...]:
        """The fields of the JSON that answers are written in; empty for answers of other forms."""
        return (keyword_field(self.most),) if self.kind is PromptKind.KEYWORDS else self.fields

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON Schema of `form`."""
        return schema_of_fields(self.form) if self.form else None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The integers that can answer a number question with narrow bounds; empty for all other questions."""
        if self.kind is not PromptKind.NUMBER or self.minimum is None or self.maximum is None:
            return ()
        if self.decoding != GREEDY or self.maximum - self.minimum > MOST_SCORED_NUMBERS:
            return ()
        return tuple(range(math.ceil(self.minimum), math.floor(self.maximum) + 1))

    @property
    def possible_answers(self) -> tuple[str, ...]:
        """The answers, if they can be listed: a condition or a flag names one of them. A scored number has none."""
        return ("yes", "no") if self.kind is PromptKind.YES_NO else self.choices

    @property
    def scored(self) -> bool:
        """Whether a local model takes the answer from next-token scores instead of generating it."""
        return self.kind.scored or bool(self.numbers)

    @property
    def sampled(self) -> bool:
        """Whether the answer is drawn at random, so that two segments with the same bytes may have different ones."""
        return not self.kind.scored and self.decoding.temperature > 0

    def to_json(self) -> dict[str, Any]:
        """JSON values, from which `from_json` makes an equal question."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Question:
        return cls(
            **dict(values)
            | {
                "kind": PromptKind(values["kind"]),
                "choices": tuple(values["choices"]),
                "decoding": GenerationOptions(**values["decoding"]),
                "language": Language(values["language"]),
                "fields": tuple(map(Field.from_json, values.get("fields", ()))),
                "level": Level(values.get("level", Level.SEGMENT)),
                "over": tuple(values.get("over", ())),
            }
        )

    @property
    def hash(self) -> str:
        """Identity of the question. An unused option is left out, so that a new option changes no existing hash."""
        new: dict[str, Any] = {} if self.language is Language.ENGLISH else {"language": self.language}
        new |= {"most": self.most} if self.most else {}
        new |= {"fields": [asdict(field) for field in self.fields]} if self.fields else {}
        if self.level is Level.VIDEO:
            new |= {"level": self.level, "over": sorted(self.over), "notes_bytes": self.notes_bytes}
        return content_hash(
            {
                "wording": WORDING_VERSION,
                "kind": self.kind,
                "text": self.text,
                "choices": self.choices,
                "max_new_tokens": None if self.scored else self.max_new_tokens,
                "range": [self.minimum, self.maximum],
                "decoding": None if self.scored else asdict(self.decoding),
                **new,
            }
        )
