"""What a person prefers in the console."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """None: not chosen.

    Args:
        language: of the pages, such as "zh". time_zone: of times, such as "Europe/Berlin".
        blurred, grey: how pictures of cases are shown first. notes: texts that a key writes into the note of a case.
    """

    language: str | None = None
    time_zone: str | None = None
    blurred: bool | None = None
    grey: bool | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Preferences:
        """Those of a row. What another version stored and this one does not know is left out."""
        known = {one.name for one in fields(cls)}
        values = {name: value for name, value in stored.items() if name in known}
        return cls(**values | {"notes": tuple(stored.get("notes", ()))})
