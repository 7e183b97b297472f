"""Passwords: argon2id hashes, and the rules for a new one.

The rules are those of NIST SP 800-63B: a length, and not what others would guess; no rules about kinds of characters.
"""

from __future__ import annotations

import secrets
import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from nightreel.errors import SettingsError

SHORTEST = 12
LONGEST = 1024
_HASHER = PasswordHasher()  # RFC 9106, for limited memory: 64 MiB
_AT_THE_SAME_TIME = threading.BoundedSemaphore(2)  # each needs that memory
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # without letters and digits that look alike
_GROUPS, _GROUP = 4, 5


def check_password(password: str, *, name: str) -> None:
    """Check that a new password is good enough for a person.

    Raises:
        SettingsError: it is too short, too long, one repeated character, or contains the name.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise SettingsError(f"the password has {len(password)} characters: expected {SHORTEST} to {LONGEST}")
    if len(set(password)) < SHORTEST // 3:
        raise SettingsError("the password repeats a few characters: expected one that nobody guesses")
    if len(name) >= 3 and name.casefold() in password.casefold():
        raise SettingsError("the password contains the name: expected one that nobody guesses")


def hash_password(password: str) -> str:
    with _AT_THE_SAME_TIME:
        return _HASHER.hash(_bytes(password))


def is_password(password: str, stored: str | None) -> bool:
    """Whether a password has this hash. Without a hash, it takes as long, and says no.

    So the time says nothing about whether there is a person with a name.
    """
    with _AT_THE_SAME_TIME:
        try:
            return _HASHER.verify(stored or _of_no_person(), _bytes(password[: LONGEST + 1])) and stored is not None
        except (VerificationError, InvalidHashError):
            return False


def is_outdated(stored: str) -> bool:
    """Whether a hash was made with weaker parameters than now: make a new one when the password is known."""
    return _HASHER.check_needs_rehash(stored)


def new_password(*, name: str) -> str:
    """A random password of 99 bits for a person, in groups that are easy to copy: "abcde-fghjk-mnpqr-stuvw".

    `check_password` accepts it: passwords that contain the name by chance are thrown away.
    """
    while True:
        password = "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))
        try:
            check_password(password, name=name)
        except SettingsError:
            continue
        return password


def _bytes(password: str) -> bytes:
    return password.encode(errors="replace")  # half of a surrogate pair is not a character


_no_person: list[str] = []


def _of_no_person() -> str:
    if not _no_person:
        _no_person.append(_HASHER.hash(secrets.token_urlsafe()))
    return _no_person[0]
