"""Read the one number that a text states, in digits or as an English word."""

from __future__ import annotations

import math
import re

_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_DIGITS = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?![\w])")


def read_number(text: str) -> float | None:
    """The only number in a text, in digits or as a word up to twenty; None if there is none or several.

    >>> read_number("There are three people."), read_number("1,200"), read_number("2 or 3"), read_number("many")
    (3.0, 1200.0, None, None)
    """
    found = {float(match.replace(",", "")) for match in _DIGITS.findall(text)}
    if not all(map(math.isfinite, found)):  # hundreds of digits
        return None
    words = re.findall(r"[a-z]+", text.lower())
    found |= {float(_WORDS.index(word)) for word in words if word in _WORDS}
    if not found and words[:1] == ["none"]:
        found = {0.0}
    return found.pop() if len(found) == 1 else None
