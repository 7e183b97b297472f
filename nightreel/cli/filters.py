"""Filters of commands: a value that can match nothing is refused, with what there is and the nearest suggestion.

"none" reads as all clear. So a command prints it only if the filter names something that exists.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from urllib.parse import unquote

from sqlalchemy import Connection

from nightreel.database import reports
from nightreel.database.prompt_sets import kept_meanings
from nightreel.domain import VerdictState
from nightreel.errors import SettingsError
from nightreel.logs import file_name
from nightreel.prompts.loading import load_prompt_sets
from nightreel.reasons import Reason
from nightreel.settings import Settings
from nightreel.suggestions import did_you_mean, refusal, sentence

_COMPARED = 5000  # newest videos that a misspelt name is compared with
_NEWEST = 3
_LONGEST_NUMBER = 9  # digits


def check_word(option: str, value: str | None, known: Collection[str], *, kind: str) -> None:
    """Refuse a word that is not one of those known.

    Raises:
        SettingsError: with the nearest word, and all of them.
    """
    if not value or value in known:
        return
    raise SettingsError(refusal(f"{option} {value!r} is no {kind}", value, known))


def check_state(state: str | None) -> None:
    check_word("--state", state, list(VerdictState), kind="state")


def check_prompt(connection: Connection, settings: Settings, prompt: str | None) -> None:
    """Refuse a prompt that neither the database nor the prompt sets of the settings have."""
    known = reports.prompt_names(connection)
    if prompt and prompt not in known:
        check_word("--prompt", prompt, known | {name for _, name in _configured(connection, settings)}, kind="prompt")


def check_prompt_set(connection: Connection, settings: Settings, name: str | None) -> None:
    """Refuse a prompt set that was never asked and that the settings do not name."""
    known = reports.prompt_set_names(connection)
    if name and name not in known:
        of_settings = {set_name for set_name, _ in _configured(connection, settings)}
        check_word("--prompt-set", name, known | of_settings, kind="prompt set")


def check_reason(connection: Connection, reason: str | None) -> None:
    """Refuse a word that is neither a reason of this version nor the reason of a failure."""
    failed = reports.failure_reasons(connection)
    if not reason or reason in {*failed, *Reason}:
        return
    counts = ", ".join(f"{word} ({count:,})" for word, count in failed.items())
    what = f"videos failed as {counts}" if failed else "no video failed"
    problem = f"--reason {reason!r} is no reason"
    raise SettingsError(sentence(problem, did_you_mean(reason, [*failed, *Reason]), what))


def check_key(connection: Connection, part: str | None, *, options: Mapping[str, Collection[str]]) -> None:
    """Refuse a part of a key that no video has.

    Args:
        options: other filters of the command, with their words: `retry damaged` means `retry --reason damaged`.
    """
    if not part or reports.has_video(connection, part):
        return
    count, newest = reports.newest_videos(connection, most=_COMPARED)
    if not count:
        raise SettingsError(
            f"no video has {part!r} in its key: this database has no videos; `nightreel analyze` adds them"
        )
    names = [file_name(uri) for uri in newest]
    pieces = {piece for uri in newest for piece in unquote(uri).split("/") if piece}
    hint = did_you_mean(part, pieces | {name.rsplit(".", 1)[0] for name in names})
    for option, words in options.items():
        near = difflib.get_close_matches(part, words, n=1)
        if near and (part in words or not hint):
            hint = f"did you mean {option} {near[0]}?"
    some = ", ".join(names[:_NEWEST])
    raise SettingsError(sentence(f"no video has {part!r} in its key", hint, f"the newest of {count:,} are {some}"))


def find_segment(connection: Connection, text: str) -> tuple[int, int]:
    """The id of a video and the number of a segment that a text such as `clip-3.mp4` or `clip-3.mp4:2` names.

    Raises:
        SettingsError: no video has this in its key, or several have.
    """
    name, colon, number = text.rpartition(":")
    if not (colon and number.isdecimal() and len(number) < _LONGEST_NUMBER):
        name, number = text, "0"
    return find_video(connection, name), int(number)


def find_video(connection: Connection, name: str) -> int:
    """The id of the video that has a name, or is the only one with this in its key.

    Raises:
        SettingsError: no video has this in its key, or several have.
    """
    check_key(connection, name, options={})
    found = reports.videos_with(connection, name, most=_NEWEST + 1)
    exact = [one for one in found if file_name(one[1]) == name or one[1] == name]
    chosen = exact if len(exact) == 1 else found
    if len(chosen) != 1:
        some = ", ".join(file_name(uri) for _, uri in found[:_NEWEST])
        raise SettingsError(f"{name!r}: several videos have this in their key, such as {some}: name one")
    return chosen[0][0]


def _configured(connection: Connection, settings: Settings) -> set[tuple[str, str]]:
    """The prompts of the settings: set and name."""
    try:
        names = kept_meanings(connection, settings.prompt_sets)
        return {(prompt.set_name, prompt.name) for prompt in load_prompt_sets(names).prompts}
    except SettingsError:
        return set()  # a wrong prompt set stops analyses, not the view of their answers
