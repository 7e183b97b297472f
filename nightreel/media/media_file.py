"""A media file as a decoder process sees it: an open descriptor and a name for messages, and no path.

`decoder_process` makes it. Only decord needs a path; it has one where the kernel can restrict the process to it.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import cached_property


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
