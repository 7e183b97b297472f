"""Destinations of a download: a file, which is hashed, or memory. `s3.py` makes them, `transfer.py` fills them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator

from nightreel.storage.disk import reserve, write_all
from nightreel.storage.etags import EtagDigest

_BLOCK_BYTES = 1 << 20


def blocks_of(fd: int, start: int, stop: int) -> Iterator[bytes]:
    """The bytes `start` to `stop` of a file that is at least `stop` bytes long."""
    while start < stop:
        block = os.pread(fd, min(_BLOCK_BYTES, stop - start), start)
        assert block, f"the file ends at {start}, before {stop = }"
        yield block
        start += len(block)


class FileSink:
    """A file descriptor open for reading and writing.

    Ranges arrive out of order, but a hash needs the bytes in order. So the hash reads written bytes back from the page
    cache, and covers the file's content, not only the received bytes.

    Args:
        fd: an empty file.
        admit: called with the object's size; raises if it is too large.
        etag: a digest to compute in addition to the SHA-256.
    """

    def __init__(self, fd: int, admit: Callable[[int], None], etag: EtagDigest | None) -> None:
        self._fd = fd
        self._admit = admit
        self._sha256 = hashlib.sha256()
        self._etag = etag
        self.hashed_bytes = 0

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def prepare(self, total_bytes: int) -> None:
        self._admit(total_bytes)
        reserve(self._fd, total_bytes)

    def write(self, offset: int, data: bytes) -> None:
        write_all(self._fd, data, offset)

    def completed(self, stop: int) -> None:
        for block in blocks_of(self._fd, self.hashed_bytes, stop):
            self._sha256.update(block)
            if self._etag is not None:
                self._etag.update(block)
        self.hashed_bytes = stop


class MemorySink:
    """Holds the whole object in `data`.

    Args:
        admit: called with the object's size; raises if it is too large.
    """

    def __init__(self, admit: Callable[[int], None]) -> None:
        self._admit = admit
        self.data = bytearray()

    def prepare(self, total_bytes: int) -> None:
        self._admit(total_bytes)
        self.data = bytearray(total_bytes)

    def write(self, offset: int, data: bytes) -> None:
        self.data[offset : offset + len(data)] = data

    def completed(self, stop: int) -> None:
        """Do nothing: memory needs no hash."""
