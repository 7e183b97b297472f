"""The key `schema` of a prompt of kind object: a small part of JSON Schema, and the rules between its keys.

    schema:
      type: object
      properties:
        place: {enum: [indoors, outdoors]}
        people: {type: integer, minimum: 0, maximum: 99}
        signs: {type: array, maxItems: 5, items: {type: string, maxLength: 40}}

Every text, list and depth has a bound, so that no schema can make a model write for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from nightreel import domain
from nightreel.domain import FieldType
from nightreel.domain.structures import LARGEST_NUMBER

KEYS = ("type", "properties", "enum", "maxLength", "minimum", "maximum", "items", "maxItems")
"""What a schema is made of."""
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
_Number = Annotated[float, Field(allow_inf_nan=False, ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]


class JsonType(StrEnum):
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ARRAY = "array"


_NUMBERS = (JsonType.INTEGER, JsonType.NUMBER)


class ValueEntry(BaseModel):
    """One value: of a field, or an item of a list."""

    model_config = ConfigDict(extra="forbid")

    type: JsonType | None = None
    enum: list[Annotated[Words, Field(max_length=100)]] | None = Field(None, min_length=1, max_length=100)
    max_length: int | None = Field(None, ge=1, le=1000, alias="maxLength")
    minimum: _Number | None = None
    maximum: _Number | None = None

    def problems(self) -> Iterator[str]:
        """What is wrong between its keys."""
        if self.enum is None and self.type is None:
            yield "needs a `type` (string, integer, number, boolean, array) or an `enum`"
        if self.enum is not None and (self.type not in (None, JsonType.STRING) or self.max_length is not None):
            yield "an `enum` lists texts: remove its `type` and `maxLength`"
        if len({*(self.enum or ())}) < len(self.enum or ()):
            yield "a value of the `enum` appears twice"
        if self.type is JsonType.STRING and self.enum is None and self.max_length is None:
            yield "a string needs `maxLength`, so that a model that never ends it is stopped"
        if self.max_length is not None and self.type is not JsonType.STRING and self.enum is None:
            yield "`maxLength` is for strings"
        if (self.minimum is not None or self.maximum is not None) and self.type not in _NUMBERS:
            yield "`minimum` and `maximum` are for integers and numbers"
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            yield f"maximum {self.maximum:g} is less than minimum {self.minimum:g}"


class FieldEntry(ValueEntry):
    """A field: a value, or a list of values."""

    items: ValueEntry | None = None
    max_items: int | None = Field(None, ge=1, le=50, alias="maxItems")

    def problems(self) -> Iterator[str]:
        if self.type is not JsonType.ARRAY:
            if self.items is not None or self.max_items is not None:
                yield "`items` and `maxItems` are for a list: add `type: array`"
            yield from super().problems()
            return
        if self.items is None or self.max_items is None:
            yield "a list needs `items` and `maxItems`"
        elif self.items.type is JsonType.ARRAY:
            yield "a list of lists is not allowed"
        else:
            yield from (f"items: {problem}" for problem in self.items.problems())
        if any(value is not None for value in (self.enum, self.max_length, self.minimum, self.maximum)):
            yield "the keys of its values belong in `items`"

    def to_field(self, name: str) -> domain.Field:
        value = self.items or self
        return domain.Field(
            name=name,
            type=FieldType(value.type or JsonType.STRING),
            choices=tuple(value.enum or ()),
            max_length=value.max_length or 0,
            minimum=value.minimum,
            maximum=value.maximum,
            max_items=self.max_items or 0,
        )


class ObjectEntry(BaseModel):
    """The whole schema. All fields are required, and no others are allowed."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["object"]
    properties: dict[Name, FieldEntry] = Field(min_length=1, max_length=40)

    @property
    def fields(self) -> tuple[domain.Field, ...]:
        return tuple(entry.to_field(name) for name, entry in self.properties.items())

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is wrong between the keys, with the path of the field."""
        for name, entry in self.properties.items():
            yield from ((f"schema.properties.{name}", problem) for problem in entry.problems())
