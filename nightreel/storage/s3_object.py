"""One version of an S3 object as the source of a download, and the check of the download against its ETag.

Made by `s3.py`.
"""

from __future__ import annotations

import re
from typing import Any

from nightreel.errors import PermanentError, TransientError
from nightreel.reasons import Reason
from nightreel.storage.etags import EtagDigest, part_count
from nightreel.storage.s3_bucket import S3Bucket
from nightreel.storage.s3_errors import lacking, translated
from nightreel.storage.sinks import blocks_of
from nightreel.storage.transfer import in_thread

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_EXPRESS = "--x-s3"  # how names of Amazon's directory buckets end; their ETags are random


class S3Object:
    """An `ObjectSource`.

    Args:
        bucket: the bucket that holds it.
        key: its name in the bucket.
        etag: the version, without quotes; None takes the current version and keeps to it.
    """

    def __init__(self, bucket: S3Bucket, key: str, etag: str | None) -> None:
        self.name = bucket.uri(key)
        self._bucket = bucket
        self._key = key
        self._etag = etag
        self._etag_is_of_content = not bucket.name.endswith(_EXPRESS)

    async def open(self, start: int, stop: int) -> S3Range:
        """Request bytes `start` to `stop`.

        Raises:
            PermanentError: `object_gone`, `object_denied`, `archived`, `access_denied`, `no_such_bucket`.
            TransientError: `object_changed`, `storage_unreachable`.
        """
        condition = {} if self._etag is None else {"IfMatch": f'"{self._etag}"'}
        try:
            answer = await self._bucket.once(
                "get_object", key=self._key, Range=f"bytes={start}-{stop - 1}", **condition
            )
        except PermanentError as error:
            if start or error.reason is not Reason.INVALID_RANGE:
                raise
            answer = await self._bucket.once("get_object", key=self._key, **condition)  # an empty object has no range
        try:
            self._accept_version(answer)
            span = _span(answer) or _span(answer, size_bytes=await self._size_bytes(condition))
            if span is None or span[:2] != (start, min(stop, span[2])):
                raise TransientError(
                    Reason.STORAGE_UNREACHABLE,
                    f"{self.name}: requested bytes {start}-{stop - 1} from {self._bucket.endpoint}, got "
                    f"{answer.get('ContentRange', 'all of them')}",
                )
        except BaseException:
            answer["Body"].close()
            raise
        return S3Range(answer["Body"], span[2], self.name, self._bucket.endpoint)

    async def _size_bytes(self, condition: dict[str, str]) -> int:
        answer = await self._bucket.once("head_object", key=self._key, **condition)
        if "ContentLength" not in answer:
            raise lacking(self.name, self._bucket.endpoint, "Content-Length")
        return int(answer["ContentLength"])

    def _accept_version(self, answer: dict[str, Any]) -> None:
        etag = answer.get("ETag", "").strip('"')
        if not etag:
            raise TransientError(
                Reason.STORAGE_UNREACHABLE,
                f"{self.name}: {self._bucket.endpoint} answered without an ETag: is it an S3 server?",
            )
        if self._etag is None:
            self._etag = etag
        elif etag != self._etag:
            raise TransientError(
                Reason.OBJECT_CHANGED,
                f"{self.name} was overwritten since it was listed ({self._etag} then, {etag} now)",
            )
        if answer.get("ServerSideEncryption", "").startswith("aws:kms") or "SSECustomerAlgorithm" in answer:
            self._etag_is_of_content = False

    # -- verifying -----------------------------------------------------------------------------------------------

    async def digest(self) -> EtagDigest | None:
        """A digest that computes the object's ETag from its content; None if that is not possible."""
        parts = part_count(self._etag or "")
        if parts is None or not self._etag_is_of_content:
            return None
        if parts == 0:
            return EtagDigest(None)
        part_bytes = await self._part_bytes(1, parts)
        return None if part_bytes is None else EtagDigest.of_equal_parts(part_bytes)

    async def differs(self, digest: EtagDigest, fd: int, size_bytes: int) -> bool:
        """Whether the file `fd`, from which `digest` was computed, differs from the object by its ETag."""
        if digest.etag() == self._etag or not self._etag_is_of_content:
            return False
        parts = part_count(self._etag or "") or 0
        # Parts rarely have unequal sizes, so each size costs a request only now.
        sizes = [await self._part_bytes(number, parts) for number in range(1, parts + 1)]
        if not sizes or None in sizes or sum(size or 0 for size in sizes) != size_bytes:
            return True
        exact = EtagDigest(size or 0 for size in sizes)

        def read_again() -> None:
            for block in blocks_of(fd, 0, size_bytes):
                exact.update(block)

        await in_thread(read_again)
        return exact.etag() != self._etag

    async def _part_bytes(self, number: int, parts: int) -> int | None:
        """Size of one of `parts` parts; None if the server does not report it."""
        try:
            answer = await self._bucket.request("head_object", key=self._key, PartNumber=number)
        except PermanentError as error:
            if error.reason in (Reason.STORAGE_REFUSED, Reason.INVALID_RANGE):
                return None
            raise
        return int(answer["ContentLength"]) if answer.get("PartsCount") == parts else None


def _span(answer: dict[str, Any], *, size_bytes: int | None = None) -> tuple[int, int, int] | None:
    """The first byte of a reply, the byte after its last one, and the object's size; None if its headers do not tell.

    Servers describe an empty object in many ways: without a range, or as `0-0/0`, `0--1/0`, `*/0`, or the range that
    was requested. So a reply without bytes counts as an empty object only if its range or the size says so.

    Args:
        size_bytes: the object's size if it is known otherwise.

    >>> _span({"ContentLength": 10, "ContentRange": "bytes 0-9/25"}), _span({"ContentLength": 25})
    ((0, 10, 25), (0, 25, 25))
    >>> _span({"ContentLength": 0, "ContentRange": "bytes */0"})
    (0, 0, 0)
    >>> empty = {"ContentLength": 0}
    >>> _span(empty), _span(empty, size_bytes=0), _span(empty, size_bytes=10)
    (None, (0, 0, 0), None)
    """
    length, told = answer.get("ContentLength"), answer.get("ContentRange") or ""
    if size_bytes == 0 or (told.endswith("/0") and not length):
        return 0, 0, 0
    if length == 0:
        return None
    if match := _CONTENT_RANGE.fullmatch(told):
        total = size_bytes if match[3] == "*" else int(match[3])
        return None if total is None else (int(match[1]), int(match[2]) + 1, total)
    total = length if size_bytes is None else size_bytes
    return None if told or total is None else (0, total, total)


class S3Range:
    """A `RangeStream`: bytes of an object of `total_bytes`, as they arrive."""

    def __init__(self, body: Any, total_bytes: int, name: str, endpoint: str) -> None:
        self.total_bytes = total_bytes
        self._body = body
        self._name = name
        self._endpoint = endpoint

    async def read(self, size: int) -> bytes:
        with translated(self._name, self._endpoint):
            block: bytes = await self._body.read(size)
            return block

    def close(self) -> None:
        self._body.close()
