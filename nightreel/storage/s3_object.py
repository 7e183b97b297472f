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
from nightreel.storage.s3_errors import translated
from nightreel.storage.sinks import blocks_of
from nightreel.storage.transfer import in_thread

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
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
            PermanentError: `object_gone`, `access_denied`, `no_such_bucket`.
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
        stream = S3Range(answer, self.name, self._bucket.endpoint)
        try:
            self._accept(answer, stream, start, stop)
        except BaseException:
            stream.close()
            raise
        return stream

    def _accept(self, answer: dict[str, Any], stream: S3Range, start: int, stop: int) -> None:
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
        if (stream.start, stream.stop) != (start, min(stop, stream.total_bytes)):
            raise TransientError(
                Reason.STORAGE_UNREACHABLE,
                f"{self.name}: requested bytes {start}-{stop - 1} from {self._bucket.endpoint}, got "
                f"{answer.get('ContentRange', 'all of them')}",
            )

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


class S3Range:
    """A `RangeStream`: the bytes `start` to `stop` of an object of `total_bytes`, as they arrive."""

    def __init__(self, answer: dict[str, Any], name: str, endpoint: str) -> None:
        self._body = answer["Body"]
        self._name = name
        self._endpoint = endpoint
        match = _CONTENT_RANGE.fullmatch(answer.get("ContentRange", ""))
        if match:
            first, last, self.total_bytes = map(int, match.groups())
            self.start, self.stop = first, last + 1
        else:
            self.start, self.stop = 0, int(answer.get("ContentLength", 0))
            self.total_bytes = self.stop

    async def read(self, size: int) -> bytes:
        with translated(self._name, self._endpoint):
            block: bytes = await self._body.read(size)
            return block

    def close(self) -> None:
        self._body.close()
