"""The variables that settings come from: the environment, `.env`, and a container's secret files, in this order.

`settings` calls it. It refuses misspelt names and files that are not text, and knows where each variable was set. It
knows neither types nor defaults. A variable without a value counts as unset.
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from nightreel.errors import SettingsError
from nightreel.suggestions import did_you_mean

ENVIRONMENT = "environment"
_NEAR = 0.85
"""Likeness from which the first word of a name counts as a misspelt prefix: NIGHTREL yes, NIGHTLY no."""


@dataclass(frozen=True, slots=True)
class Place:
    """One place where variables are set: its name for people, and the text of each variable by upper-case name."""

    name: str
    variables: Mapping[str, str]


def read_places(
    environment: Mapping[str, str], *, dotenv: Path, secrets: Path, prefix: str, known: Collection[str]
) -> tuple[Place, ...]:
    """Read all variables, the strongest place first.

    Args:
        dotenv, secrets: a file and a directory; either may be missing.
        prefix: of our variables. known: the names of all settings, in upper case.

    Raises:
        SettingsError: a name with our prefix, or nearly with it, is not in `known`; a file cannot be read or is not
            UTF-8 text; a line of `.env` about a setting is not NAME=value. The message has one line for each problem.
    """
    places = (
        Place(ENVIRONMENT, _of_environment(environment, prefix)),
        Place(str(dotenv), _of_dotenv(dotenv, prefix)),
        *_secret_files(secrets, prefix, known),
    )
    problems = [
        _not_a_setting(name, place.name, known)
        for place in places
        for name in place.variables
        if _is_meant(name, prefix) and name not in known
    ]
    if problems:
        raise SettingsError("\n".join(problems))
    return places


def find_place(places: Sequence[Place], names: Sequence[str]) -> tuple[str, str] | None:
    """The name and the place of the variable that sets a setting; None if none does.

    Args:
        names: the variables that set it, in upper case, the strongest first.
    """
    for place in places:
        for name in names:
            if place.variables.get(name, "").strip():
                return name, place.name
    return None


def _is_meant(name: str, prefix: str) -> bool:
    """Whether a name is one of ours, or a misspelling of one.

    >>> [_is_meant(name, "NIGHTREEL_") for name in ("NIGHTREEL_MODLE", "NIGHTREL_MODEL", "NIGHTLY_BUILD", "PATH")]
    [True, True, False, False]
    """
    word = prefix.rstrip("_")
    if name.startswith(word):
        return True
    return difflib.SequenceMatcher(None, re.split(r"[^A-Z]", name)[0], word).ratio() >= _NEAR


def _not_a_setting(name: str, place: str, known: Collection[str]) -> str:
    where = "" if place == ENVIRONMENT else f" ({place})"
    hint = did_you_mean(name, known).replace("'", "")
    return f"{name}{where} is not a setting: {hint or '`nightreel settings` lists them'}"


def _of_environment(environment: Mapping[str, str], prefix: str) -> dict[str, str]:
    for name, value in environment.items():
        if _is_meant(name.upper(), prefix):
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise SettingsError(f"{name}={value!r} is not UTF-8 text ({error.reason}): set it again") from None
    # A name in upper case wins over the same name in other letters.
    return {name.upper(): environment[name] for name in sorted(environment, key=str.isupper)}


def _of_dotenv(path: Path, prefix: str) -> dict[str, str]:
    if not path.is_file():
        return {}
    text = _read_text(path)
    for line, content in _odd_lines(text):
        if any(_is_meant(word, prefix) for word in re.findall(r"[A-Z][A-Z_]+", content.upper())):
            raise SettingsError(f"{path}, line {line}: {content.strip()[:80]!r} should be NAME=value")
    return {name.upper(): value or "" for name, value in dotenv_values(stream=io.StringIO(text)).items()}


def _odd_lines(text: str) -> Iterator[tuple[int, str]]:
    """The number and text of each statement that is not NAME=value."""
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            skipped = len(binding.original.string) - len(binding.original.string.lstrip())
            blank = binding.original.string[:skipped].count("\n")
            yield binding.original.line + blank, binding.original.string


def _secret_files(directory: Path, prefix: str, known: Collection[str]) -> Iterator[Place]:
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        name = path.name.upper()
        # No other file is read: the directory holds the secrets of other programs too.
        if path.is_file() and (name in known or _is_meant(name, prefix)):
            yield Place(str(path), {name: _read_text(path).strip()})


def _read_text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{error.strerror}: {path}: expected a file that this user may read") from None
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path} is not UTF-8 text (byte {error.start + 1} is 0x{error.object[error.start]:02x}): save it as UTF-8"
        ) from None
    if "\0" in text:
        raise SettingsError(f"{path} has a NUL character, as UTF-16 text has: save it as UTF-8")
    return text
