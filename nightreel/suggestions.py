"""The nearest known word to one that is misspelt, for messages."""

from __future__ import annotations

import difflib
from collections.abc import Collection

_SHOWN = 40  # words in a message


def did_you_mean(word: str, known: Collection[str]) -> str:
    """The nearest of the known words as a question; empty if none is near.

    >>> did_you_mean("violenc", ["violence", "weapons"]), did_you_mean("zebra", ["violence"])
    ("did you mean 'violence'?", '')
    """
    lower = {other.lower(): str(other) for other in known}
    near = difflib.get_close_matches(word.lower(), lower, n=1)
    return f"did you mean {lower[near[0]]!r}?" if near else ""


def there_are(known: Collection[str]) -> str:
    """What there is, in a few words.

    >>> there_are(["b", "a"]), there_are([])
    ('there are a, b', 'there is none yet')
    """
    words = sorted(known)
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return f"there are {', '.join(words[:_SHOWN])}{more}" if words else "there is none yet"


def refusal(problem: str, word: str, known: Collection[str]) -> str:
    """A sentence about a word that is not known: the problem, the nearest word, and all words.

    >>> refusal("--queue 'nigthly' is no queue", "nigthly", ["nightly", "upkeep"])
    "--queue 'nigthly' is no queue: did you mean 'nightly'? There are nightly, upkeep"
    """
    return sentence(problem, did_you_mean(word, known), there_are(known))


def sentence(problem: str, hint: str, what_there_is: str) -> str:
    """Join a problem, a question that may be empty, and what there is."""
    rest = f"{hint} {what_there_is[0].upper()}{what_there_is[1:]}" if hint else what_there_is
    return f"{problem}: {rest}"
