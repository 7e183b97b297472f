"""Opens files below a directory: no link leads out of it, and only regular files of a disk are opened.

`local` and `walk` read through it. A name is checked after it was resolved, on the open file itself. So it does not
matter when somebody swaps a file or a directory for a link. Looking at a file is free of side effects: opening a pipe
or a device is not, so neither is opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
}


class RefusedError(Exception):
    """A name that is not opened. `detail` is a phrase that follows the name, such as "is a named pipe"."""

    def __init__(self, detail: str, *, leaves: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.leaves = leaves


def examine(root: bytes, name: bytes, *, follow_links: bool) -> os.stat_result:
    """The status of a regular file.

    Args:
        root: absolute path of a directory. name: relative, without `..`.
        follow_links: also links that lead out of the root.

    Raises:
        RefusedError: it is not a regular file, it belongs to the kernel, or a link in its path leads out of the root.
        OSError: as `os.open`.
    """
    with _checked(root, name, os.O_PATH, follow_links=follow_links) as fd:
        return os.fstat(fd)


def open_file(root: bytes, name: bytes, *, follow_links: bool) -> int:
    """Open a regular file to read it. The caller closes the descriptor. Raises like `examine`."""
    with _checked(root, name, os.O_PATH, follow_links=follow_links) as fd:
        return os.open(_link_of(fd), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # this very file, by any name


@contextmanager
def open_directory(root: bytes, name: bytes) -> Iterator[int]:
    """Open a directory to list it, for the block. `name` may be empty. Raises like `examine`."""
    with _checked(root, name, os.O_RDONLY | os.O_DIRECTORY, follow_links=False) as fd:
        yield fd


def why_not_a_file(status: os.stat_result) -> str | None:
    """Why this is no regular file of a disk, as a phrase; None if it is one.

    >>> why_not_a_file(os.stat("/dev/null")), why_not_a_file(os.stat("/proc/self/environ"))
    ('is a device', 'is a file of the kernel')
    """
    if not stat.S_ISREG(status.st_mode):
        return f"is {_KINDS.get(stat.S_IFMT(status.st_mode), 'no file')}"
    return "is a file of the kernel" if status.st_dev in _kernel_devices() else None


@contextmanager
def _checked(root: bytes, name: bytes, flags: int, *, follow_links: bool) -> Iterator[int]:
    path = root + b"/" + name if name else root or b"/"
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if flags & os.O_DIRECTORY:
            if status.st_dev in _kernel_devices():
                raise RefusedError("is a directory of the kernel")
        elif why := why_not_a_file(status):
            raise RefusedError(why)
        if not follow_links and name:
            place = os.readlink(_link_of(fd))  # noqa: PTH115  (bytes: not every name is text)
            if not place.startswith(_place(root).rstrip(b"/") + b"/"):
                raise RefusedError(f"leads out of the source, to {os.fsdecode(place)!r}", leaves=True)
        yield fd
    finally:
        os.close(fd)


def _place(directory: bytes) -> bytes:
    fd = os.open(directory or b"/", os.O_PATH | os.O_CLOEXEC)
    try:
        return os.readlink(_link_of(fd))  # noqa: PTH115
    finally:
        os.close(fd)


def _link_of(fd: int) -> bytes:
    return b"/proc/self/fd/%d" % fd


@cache
def _kernel_devices() -> frozenset[int]:
    """The device numbers of the file systems whose files the kernel makes up."""
    found = set()
    for place in ("/proc", "/sys", "/sys/fs/cgroup", "/sys/kernel/debug", "/sys/kernel/tracing"):
        path = Path(place)
        if os.path.ismount(path):
            found.add(path.stat().st_dev)
    return frozenset(found)
