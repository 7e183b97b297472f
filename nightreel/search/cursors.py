"""Cursors: where a page of hits ends, as an opaque text. A cursor belongs to one search, and is checked."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from dataclasses import astuple, dataclass

from nightreel.errors import SettingsError
from nightreel.search.query import SearchQuery

_LARGEST = 2**63 - 1
_LONGEST = 200  # characters


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last hit of a page, and the newest segment when the search began: later ones are not on its pages.

    Args:
        place: rank of the hit, or id of its video if the newest come first.
    """

    place: float
    segment_id: int
    newest_segment: int


def write_cursor(query: SearchQuery, cursor: Cursor) -> str:
    written = json.dumps([_digest(query), *astuple(cursor)], separators=(",", ":"))
    return base64.urlsafe_b64encode(written.encode()).decode().rstrip("=")


def read_cursor(query: SearchQuery) -> Cursor | None:
    """Where the page of a query begins; None: at the start.

    Raises:
        SettingsError: the text is no cursor, or that of another search.
    """
    if query.after is None:
        return None
    try:
        padded = query.after[:_LONGEST] + "=" * (-len(query.after) % 4)
        digest, place, segment_id, newest_segment = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise SettingsError(_problem(query)) from None
    numbers = (segment_id, newest_segment)
    if (
        not all(type(number) is int and 0 <= number <= _LARGEST for number in numbers)
        or type(place) is not float
        or not math.isfinite(place)
    ):
        raise SettingsError(_problem(query))
    if digest != _digest(query):
        raise SettingsError("after: the cursor is that of another search: repeat its words, filters and order")
    return Cursor(place, segment_id, newest_segment)


def _problem(query: SearchQuery) -> str:
    return f"after={(query.after or '')[:40]!r} is no cursor: pass the one of the page before, or none"


def _digest(query: SearchQuery) -> str:
    """Which search a cursor belongs to."""
    asked = repr((query.text, query.by, query.like, query.filters, query.newest))
    return hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()[:16]
