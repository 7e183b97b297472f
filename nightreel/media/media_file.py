"""An open media file. The pipeline opens it and reads nothing of it; a decoder process reads it.

Only decord needs a path. A decoder process has one where the kernel can restrict the process to it.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nightreel.errors import PermanentError, TransientError
from nightreel.host_errors import host_error
from nightreel.reasons import Reason

FileId = tuple[int, ...]
"""What tells a file from all others."""


@dataclass(frozen=True)
class MediaFile:
    """An open, readable, regular file.

    Args:
        fd: its descriptor, which the caller keeps open.
        name: for messages; ffmpeg takes the suffix as a hint of the format.
        path: under which this process may open the file again; None where it may not.
    """

    fd: int
    name: str
    path: str | None = None

    @cached_property
    def size_bytes(self) -> int:
        return os.fstat(self.fd).st_size

    def open(self) -> io.BufferedReader:
        """A reader that starts at the first byte. Readers do not share a position."""
        return io.BufferedReader(self.unbuffered())

    def unbuffered(self) -> io.RawIOBase:
        """As `open`, for callers with a buffer of their own."""
        return _Reader(self)


class _Reader(io.RawIOBase):
    """Reads at a position of its own, because descriptors of one open file share theirs."""

    def __init__(self, file: MediaFile) -> None:
        self._fd, self._size_bytes, self._position = file.fd, file.size_bytes, 0
        self.name = file.name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no len
        count = os.preadv(self._fd, [buffer], self._position)
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to byte {base + offset} of {self.name}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position


@contextmanager
def opened(path: Path) -> Iterator[MediaFile]:
    """Open a file for a decoder process.

    Raises:
        TransientError: `file_unreadable`, or the host's own reason.
        PermanentError: `not_a_video`: it is not a regular file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise unreadable(path.name, error) from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise PermanentError(Reason.NOT_A_VIDEO, f"{path.name} is not a regular file")
        yield MediaFile(fd, path.name, os.path.realpath(path))
    finally:
        os.close(fd)


def file_id(status: os.stat_result) -> FileId:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def unreadable(name: str, error: OSError) -> TransientError:
    """The error for a file that cannot be opened or read: the host's, or that of the disk."""
    said = f"{name} cannot be read from the disk ({error.strerror}): check the disk"
    return host_error(error, doing=f"{name} cannot be opened") or TransientError(Reason.FILE_UNREADABLE, said)
