"""What a form or the query of an address says: text by name, within limits, read as a shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_origin
from urllib.parse import parse_qs

from fastapi import Request
from pydantic import ValidationError

from nightreel.api.bodies import Sent, read_body
from nightreel.api.problems import Problem

_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 3000
_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Fields:
    """Values by name. A name may have several."""

    values: Mapping[str, list[str]] = field(default_factory=dict)

    def last(self, name: str) -> str:
        """The last value of a name; empty: there is none."""
        return self.values.get(name, [""])[-1]

    def read(self, shape: type[Sent]) -> Sent:
        """The fields as a shape. An empty field is one that is not there: its default counts.

        Raises:
            Problem: 422 for a value of another type, a missing one, or an unknown name.
        """
        given: dict[str, Any] = {}
        for name, values in self.values.items():
            written = [one for one in values if one]
            known = shape.model_fields.get(name)
            if written:
                given[name] = written if known and get_origin(known.annotation) is list else written[-1]
        try:
            return shape.model_validate(given)
        except ValidationError as error:
            said = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:_MOST_SHOWN]]
            raise Problem(422, "; ".join(said)) from error


def query_of(request: Request) -> Fields:
    """The query of the address. Raises Problem 422 if it has too many names."""
    return _parsed(request.url.query)


async def form_of(request: Request) -> Fields:
    """The form in the body of a request.

    Raises:
        Problem: 408, 413, 415 or 422.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise Problem(415, f"expected a body of type {_FORM}")
    return _parsed((await read_body(request)).decode(errors="replace"))


def _parsed(text: str) -> Fields:
    try:
        return Fields(parse_qs(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="replace"))
    except ValueError as error:
        raise Problem(422, f"more than {_MOST_FIELDS:,} fields") from error
