"""Compute ETags that are made from content, to verify downloads. Used by `s3.py`.

Amazon documents an ETag as the MD5 of the content if the object was uploaded in one request and is not encrypted with
KMS or the customer's keys. An upload in parts has md5(md5(part 1) + md5(part 2) + ...)-PARTS. TCP's checksum misses one
damaged packet in 2**16, and proxies can damage files where no checksum applies; this check finds both.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable

_MD5 = re.compile(r"[0-9a-f]{32}(?:-([1-9][0-9]{0,4}))?")


def part_count(etag: str) -> int | None:
    """How many parts' MD5s an ETag is made from: 0 for a plain MD5, None if it is not made from content.

    >>> part_count("d41d8cd98f00b204e9800998ecf8427e"), part_count("a6849c56d1749e5d728461997b9f1378-2")
    (0, 2)
    >>> part_count("0x8DBCE9B7A8A0C4F") is None
    True
    """
    match = _MD5.fullmatch(etag)
    return int(match[1] or 0) if match else None


class EtagDigest:
    """Computes the ETag of bytes that arrive in blocks.

    Args:
        part_sizes: bytes of each part, in order; the last may be larger than the actual part. None: one request.

    >>> digest = EtagDigest(None)
    >>> digest.update(b"hello")
    >>> digest.etag()
    '5d41402abc4b2a76b9719d911017c592'
    """

    def __init__(self, part_sizes: Iterable[int] | None) -> None:
        self._sizes = None if part_sizes is None else iter(part_sizes)
        self._finished: list[bytes] = []
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._missing = 0 if self._sizes is None else next(self._sizes, 0)

    @classmethod
    def of_equal_parts(cls, part_bytes: int) -> EtagDigest:
        return cls(itertools.repeat(part_bytes))

    def update(self, block: bytes) -> None:
        if self._sizes is None:
            self._md5.update(block)
            return
        view = memoryview(block)
        while view:
            if not self._missing:
                self._end_part()
                self._missing = next(self._sizes, len(view))
            taken = view[: self._missing]
            self._md5.update(taken)
            self._missing -= len(taken)
            view = view[len(taken) :]

    def _end_part(self) -> None:
        self._finished.append(self._md5.digest())
        self._md5 = hashlib.md5(usedforsecurity=False)

    def etag(self) -> str:
        """The ETag of all bytes so far."""
        if self._sizes is None:
            return self._md5.hexdigest()
        digests = [*self._finished, self._md5.digest()]
        return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"
