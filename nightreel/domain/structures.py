"""Answers with a form: the JSON that keywords and objects are written in, and how it is read.

A model is held to `schema_of` while it writes (`models.inprocess.grammars`, `models.served.structured`). What it wrote
is untrusted all the same: `read_object` believes only what fits.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

KEYWORDS = "keywords"
"""The only field of the JSON that a prompt of kind keywords is answered with."""
LONGEST_KEYWORD = 60
"""Characters of a keyword."""
LARGEST_NUMBER = 10**15
"""Integers without bounds of their own end here: their digits are then bounded."""


class FieldType(StrEnum):
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of an object: all of them are there, in their order.

    Args:
        choices: the allowed texts; empty for any.
        max_length: of a text, in characters. minimum, maximum: of a number.
        max_items: of a list of such values; 0 for a single value.
    """

    name: str
    type: FieldType
    choices: tuple[str, ...] = ()
    max_length: int = 0
    minimum: float | None = None
    maximum: float | None = None
    max_items: int = 0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Field:
        return cls(**dict(values) | {"type": FieldType(values["type"]), "choices": tuple(values["choices"])})

    @property
    def schema(self) -> dict[str, Any]:
        """The field as JSON Schema."""
        return {"type": "array", "items": self._item, "maxItems": self.max_items} if self.max_items else self._item

    @property
    def _item(self) -> dict[str, Any]:
        if self.choices:
            return {"enum": list(self.choices)}
        if self.type is FieldType.STRING:
            return {"type": "string", "maxLength": self.max_length}
        if self.type is FieldType.BOOLEAN:
            return {"type": "boolean"}
        least, most = self.minimum, self.maximum
        if self.type is FieldType.INTEGER:
            least = -LARGEST_NUMBER if least is None else math.ceil(least)
            most = LARGEST_NUMBER if most is None else math.floor(most)
        bounds = {"minimum": least, "maximum": most}
        return {"type": str(self.type), **{key: bound for key, bound in bounds.items() if bound is not None}}

    @property
    def words(self) -> str:
        """What belongs in the field, for the model."""
        if self.choices:
            one = json.dumps("|".join(self.choices), ensure_ascii=False)
        else:
            one = {"string": '"..."', "boolean": "true or false", "integer": "0", "number": "0.0"}[self.type]
        return f"[{one}, ...]" if self.max_items else one

    def fits(self, value: Any) -> bool:
        if not self.max_items:
            return self._fits(value)
        return isinstance(value, list) and len(value) <= self.max_items and all(map(self._fits, value))

    def _fits(self, value: Any) -> bool:
        match self.type:
            case FieldType.BOOLEAN:
                return isinstance(value, bool)
            case FieldType.STRING:
                return isinstance(value, str) and (
                    value in self.choices if self.choices else len(value) <= self.max_length
                )
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        if self.type is FieldType.INTEGER and not isinstance(value, int):
            return False
        least = -math.inf if self.minimum is None else self.minimum
        most = math.inf if self.maximum is None else self.maximum
        return least <= value <= most


def schema_of_fields(fields: Iterable[Field]) -> dict[str, Any]:
    """JSON Schema of an object with these fields and no others."""
    properties = {field.name: field.schema for field in fields}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def keyword_field(most: int) -> Field:
    return Field(name=KEYWORDS, type=FieldType.STRING, max_length=LONGEST_KEYWORD, max_items=most)


def read_object(text: str, fields: Sequence[Field]) -> dict[str, Any] | str:
    """The object that a text holds; else why it does not hold one."""
    try:
        found = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return "the text is not whole JSON"
    if not isinstance(found, dict) or found.keys() != {field.name for field in fields}:
        return "the JSON has other fields than the prompt asks for"
    wrong = next((field.name for field in fields if not field.fits(found[field.name])), None)
    if wrong is not None:
        return f"the field {wrong!r} of the JSON is not what the prompt asks for"
    return {field.name: found[field.name] for field in fields}


def text_of(found: Mapping[str, Any]) -> str:
    """An object in words: JSON on one line."""
    return json.dumps(found, ensure_ascii=False)


def normalised(keywords: Iterable[str], *, most: int) -> list[str]:
    """Keywords as they are counted: NFKC, small letters, single spaces, no marks around, each once, at most `most`.

    Singular and plural stay apart: which is which depends on the language, and search finds both.

    >>> normalised(["Red  Car", "red car.", "#SUNSET", "Straße", ""], most=8)
    ['red car', 'sunset', 'strasse']
    """
    found = (" ".join(unicodedata.normalize("NFKC", one).casefold().split()) for one in keywords)
    return list(dict.fromkeys(word for one in found if (word := one.strip(_AROUND))))[:most]


_AROUND = " .,;:!?#\"'`*()[]{}<>/\\|-–—_。，、；：！？「」《》（）"


def _no_number(constant: str) -> float:
    raise ValueError(constant)
