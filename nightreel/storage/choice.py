"""Paths that a person names, as a source and what to take of it.

A run has one source: a directory, a bucket, or a prefix of one. Files and several paths become the nearest source that
holds them all, with a list of what was named. `nightreel analyze` calls it; the listing reads only what is named.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from nightreel.errors import PermanentError, SettingsError
from nightreel.reasons import Reason
from nightreel.settings import Settings
from nightreel.storage.base import Storage
from nightreel.storage.beneath import why_not_a_file
from nightreel.suggestions import did_you_mean, sentence

_FILE = "file://"


@dataclass(frozen=True, slots=True)
class Choice:
    """A source, and what to take of it.

    Args:
        only: URIs of objects, and of prefixes that end with a slash; None: all of the source.
    """

    source: str
    only: tuple[str, ...] | None


def choose(paths: Sequence[str], settings: Settings) -> Choice:
    """The source that holds these paths, and the paths in it.

    Args:
        paths: files and directories, `file://` and `s3://` URIs of objects and prefixes; at least one.

    Raises:
        SettingsError: a path does not exist, or no source holds them all.
        NightreelError: as `Storage.check`.
    """
    named = [_locate(path, settings) for path in paths]
    if len(named) == 1 and named[0].endswith("/"):
        return Choice(named[0].rstrip("/") if _is_undecodable(paths[0]) else paths[0], None)
    prefixes = [uri for uri in named if uri.endswith("/")]
    within = {uri for uri in named if any(uri != prefix and uri.startswith(prefix) for prefix in prefixes)}
    only = tuple(sorted(set(named) - within))
    source = _common(only)
    return Choice(source, None if only == (f"{source.rstrip('/')}/",) else only)


def uri_of(path: str) -> str:
    """The URI of an object, which may not exist any more. A URI stays as it is.

    >>> uri_of("s3://bucket/a b.mp4"), uri_of("/nowhere/a b.mp4")
    ('s3://bucket/a b.mp4', 'file:///nowhere/a%20b.mp4')
    """
    if "://" in path:
        return path
    place = Path(path).expanduser()
    return _FILE + quote_from_bytes(os.fsencode(place.parent.resolve() / place.name))


def _locate(path: str, settings: Settings) -> str:
    """The URI of a file or object; of a directory or prefix, with a slash at its end."""
    from nightreel.storage import open_storage

    storage = open_storage(path, settings)
    if storage.url.startswith(_FILE):
        return _locate_local(path, storage)
    parent, _, name = path.rpartition("/")
    if "." in name and parent.count("/") > 1 and _exists(open_storage(parent, settings), path):
        return path
    return f"{storage.url}/"


def _locate_local(path: str, storage: Storage) -> str:
    text = os.fsdecode(unquote_to_bytes(path.removeprefix(_FILE).removeprefix("localhost"))) if "://" in path else path
    place = Path(text).expanduser()
    if place.exists() and not place.is_dir():
        if why := why_not_a_file(place.stat()):
            raise SettingsError(f"{text!r} {why}: expected a file or a directory of a disk")
        directory, file = place.parent.resolve(), place.resolve()
        # The name of a link is the name of its file, unless it leads elsewhere: then the person meant that file.
        return _FILE + quote_from_bytes(os.fsencode(directory / place.name if directory in file.parents else file))
    if not place.exists():
        raise SettingsError(sentence(f"{text!r} is neither a file nor a directory", _near(place), "check the path"))
    storage.check()
    return f"{storage.url}/"


def _near(place: Path) -> str:
    try:
        return did_you_mean(place.name, [other.name for other in place.parent.iterdir()])
    except OSError:
        return ""


def _exists(storage: Storage, uri: str) -> bool:
    try:
        return storage.exists(uri)
    except PermanentError as error:
        # Rights to a prefix do not extend to an object of the same name.
        if error.reason is Reason.ACCESS_DENIED:
            return False
        raise


def _common(uris: Sequence[str]) -> str:
    """The longest directory or prefix that contains all of these."""
    places = {tuple(uri.split("/", 3)[:3]) if not uri.startswith(_FILE) else _FILE for uri in uris}
    if len(places) > 1:
        raise SettingsError(
            f"one run analyses one disk or one bucket, not {', '.join(sorted(map(_place_name, places)))}: "
            "call the command for each"
        )
    parents = [uri.rstrip("/").split("/") if uri.endswith("/") else uri.split("/")[:-1] for uri in uris]
    source = "/".join(_shared(parents))
    return f"{_FILE}/" if source == _FILE else source


def _shared(parents: Sequence[Sequence[str]]) -> Iterator[str]:
    for parts in zip(*parents, strict=False):
        if len(set(parts)) > 1:
            return
        yield parts[0]


def _place_name(place: str | tuple[str, ...]) -> str:
    return "this disk" if isinstance(place, str) else "/".join(place)


def _is_undecodable(path: str) -> bool:
    return any("\udc80" <= char <= "\udcff" for char in path)
