"""Walk the files below a directory in the order of their uris, resumable, with a bounded number of names in memory.

`LocalStorage` lists through it. It reads names and kinds of entries, never contents.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from urllib.parse import quote_from_bytes, unquote_to_bytes

from nightreel.storage.beneath import RefusedError, open_directory, why_not_a_file
from nightreel.storage.entries import shown

_NAMES_HELD = 100_000


def walk(
    root: bytes, *, start_after: bytes, on_skipped: Callable[[str], None], names_held: int = _NAMES_HELD
) -> Iterator[str]:
    """Yield the paths of all files below `root`, relative and percent-encoded, in the byte order of these strings.

    This is the order of uris, and the order in Postgres. A sweep depends on it: a known uri that is missing in a listed
    range counts as gone. For names without encoded characters it is also the order in which S3 lists keys.

    Hidden entries are skipped. Links to files count as files: whoever opens one checks where it leads. Links to
    directories are not followed, so there are no loops. Such links, unreadable directories, pipes, sockets and devices
    are reported, and so are the directories of the kernel, as /proc.

    Args:
        start_after: only paths after this one.
        on_skipped: called with a sentence for each reported entry.
        names_held: at most twice this many names of a directory are held; a larger directory is read several times.
    """
    after = quote_from_bytes(start_after)
    # One iterator for each level instead of recursion: paths may be deeper than Python's stack.
    levels = [("", _entries(root, "", after=after, on_skipped=on_skipped, names_held=names_held))]
    while levels:
        prefix, entries = levels[-1]
        name = next(entries, None)
        if name is None:
            levels.pop()
        elif name.endswith("/"):
            below = prefix + name
            levels.append((below, _entries(root, below, after=after, on_skipped=on_skipped, names_held=names_held)))
        else:
            yield prefix + name


def _entries(
    root: bytes, prefix: str, *, after: str, on_skipped: Callable[[str], None], names_held: int
) -> Iterator[str]:
    """Names in one directory, in order. Directories end in a slash, so `a-b` < `a/` < `a0` as in whole paths."""
    below = unquote_to_bytes(prefix)
    path = root + b"/" + below
    last = ""
    while True:
        names: list[str] = []
        complete = True
        try:
            for name in map(quote_from_bytes, _scan(root, below, on_skipped if not last else _ignore)):
                whole = prefix + name
                if name <= last or not (whole > after or (name.endswith("/") and after.startswith(whole))):
                    continue
                names.append(name)
                if len(names) >= 2 * names_held:
                    names.sort()
                    del names[names_held:]
                    complete = False
        except FileNotFoundError:
            on_skipped(f"directory {shown(os.fsdecode(path))} was deleted during the listing")
            complete = True
        except RefusedError as refused:
            on_skipped(f"{shown(os.fsdecode(path))} {refused.detail}")
            complete = True
        except OSError as error:  # perhaps after some names, which count
            on_skipped(f"directory {shown(os.fsdecode(path))} cannot be read: {error.strerror}")
            complete = True
        names.sort()
        if not complete:
            del names[names_held:]
        yield from names
        if complete:
            return
        last = names[-1]


def _scan(root: bytes, below: bytes, on_skipped: Callable[[str], None]) -> Iterator[bytes]:
    with open_directory(root, below.rstrip(b"/")) as fd, os.scandir(fd) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = os.fsdecode(root + b"/" + below) + entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    yield os.fsencode(entry.name) + b"/"
                elif entry.is_file():
                    yield os.fsencode(entry.name)
                elif entry.is_symlink():
                    on_skipped(f"{shown(path)} links to no file: make a linked directory its own source")
                elif why := why_not_a_file(entry.stat(follow_symlinks=False)):
                    on_skipped(f"{shown(path)} {why}")
            except OSError as error:  # a link to itself, or to a place that this user cannot read
                on_skipped(f"{shown(path)}: {error.strerror}")


def _ignore(_: str) -> None:
    """Do nothing: the first reading of this directory reported the entry."""
