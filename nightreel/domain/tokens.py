"""Tokens of the REST service: what they may do, and how they are made. Only the SHA-256 of a token is stored."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import timedelta
from enum import StrEnum

from nightreel.errors import SettingsError

PREFIX = "nr_"
LONGEST = timedelta(days=3660)
_WRITTEN = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_SHOWN = len(PREFIX) + 4
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class Scope(StrEnum):
    """What a token may do."""

    READ = "read"  # rows of views, and the search
    MEDIA = "media"  # thumbnails and frames
    EXPORT = "export"  # whole views as files
    ASK = "ask"  # questions about a file, which a model answers
    REVIEW = "review"  # work the queues, as far as the role of its user allows
    ADMIN = "admin"  # ask for erasures, legal holds and golden items, if its user is an admin
    RESTRICTED = "restricted"  # with the others: videos with a verdict in the lane `restricted`, too


def new_token() -> str:
    """A random token of 256 bits."""
    return f"{PREFIX}{secrets.token_urlsafe(32)}"


def is_token(text: str) -> bool:
    """Whether a text has the form of a token.

    >>> is_token("nr_" + "a" * 43), is_token("nr_a")
    (True, False)
    """
    return _WRITTEN.fullmatch(text) is not None


def token_sha256(token: str) -> bytes:
    """What is stored of a token or of a session's cookie: 32 bytes. Random ones need no salt and no slow hash."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


def shown_part(token: str) -> str:
    """The start of a token, by which its owner recognises it.

    >>> shown_part("nr_ab12" + "c" * 39)
    'nr_ab12…'
    """
    return f"{token[:_SHOWN]}…"


def parse_lifetime(text: str, *, option: str = "--expires") -> timedelta:
    """How long a secret counts.

    Args:
        option: that has the text, for the message.

    >>> parse_lifetime("90d"), parse_lifetime("12h")
    (datetime.timedelta(days=90), datetime.timedelta(seconds=43200))

    Raises:
        SettingsError: it is no time, or longer than ten years.
    """
    found = re.fullmatch(r"([0-9]{1,5})([hdw])", text.strip())
    lifetime = int(found[1]) * _UNITS[found[2]] if found else timedelta()
    if not timedelta() < lifetime <= LONGEST:
        raise SettingsError(f"{option} {text!r}: expected hours, days or weeks, at most ten years: 12h, 90d or 8w")
    return lifetime
