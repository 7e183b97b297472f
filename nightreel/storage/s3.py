"""A bucket as object storage: listing by pages, parallel ranged downloads, create-only publishing.

Made by `open_storage`. The requests are in `s3_bucket.py`, `s3_object.py` and `s3_upload.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nightreel.domain import StoredObject
from nightreel.errors import PermanentError, TransientError
from nightreel.reasons import Reason
from nightreel.storage.base import Fetched, PublishedObject, Storage, checked_name, outside, too_large
from nightreel.storage.disk import new_file
from nightreel.storage.s3_bucket import S3Bucket
from nightreel.storage.s3_object import S3Object
from nightreel.storage.s3_upload import upload
from nightreel.storage.sinks import FileSink, MemorySink
from nightreel.storage.transfer import TransferOptions, download

_log = logging.getLogger(__name__)


class S3Storage(Storage):
    """The objects below a prefix of a bucket. The prefix is a directory: `s3://b/x` does not hold `x1.mp4`.

    Args:
        bucket: its name.
        prefix: without slashes at its ends; empty for the whole bucket.
        endpoint_url: the server; None for Amazon's.
        verify_etags: verify fetched objects with ETags that look like the MD5 of the content.
        options: parallelism, timeouts and retries of transfers.
    """

    def __init__(
        self, bucket: str, prefix: str, *, endpoint_url: str | None, verify_etags: bool, options: TransferOptions
    ) -> None:
        super().__init__(f"s3://{bucket}/{prefix}".rstrip("/"))
        self._prefix = f"{prefix}/" if prefix else ""
        self._verify_etags = verify_etags
        self._bucket = S3Bucket(bucket, endpoint_url=endpoint_url, options=options)

    # -- listing -------------------------------------------------------------------------------------------------

    def _pages(
        self, start_after: str | None, page_size: int, on_skipped: Callable[[str], None]
    ) -> Iterator[list[StoredObject]]:
        position = {} if start_after is None else {"StartAfter": self._key(start_after)}
        more = True
        while more:
            answer = self._bucket.run(
                self._bucket.request("list_objects_v2", Prefix=self._prefix, MaxKeys=page_size, **position)
            )
            page = [item for entry in answer.get("Contents", ()) if (item := self._listed(entry, on_skipped))]
            if page:
                yield page
            more = answer.get("IsTruncated", False)
            if more:
                following = {"ContinuationToken": answer["NextContinuationToken"]}
                if following == position:
                    raise TransientError(Reason.STORAGE_UNREACHABLE, f"{self.url}: the server sent the same page again")
                position = following

    def _listed(self, entry: dict[str, Any], on_skipped: Callable[[str], None]) -> StoredObject | None:
        key = entry["Key"]
        if key.endswith("/"):
            return None  # a folder marker
        if "\0" in key:
            on_skipped(f"key {key!r} in {self.url}: text in Postgres cannot hold NUL; rename it")
            return None
        return StoredObject(
            uri=self._bucket.uri(key),
            etag=entry["ETag"].strip('"'),
            size_bytes=entry["Size"],
            modified_at=entry["LastModified"],
        )

    def check(self) -> None:
        self._bucket.run(self._bucket.request("list_objects_v2", Prefix=self._prefix, MaxKeys=1))

    # -- reading -------------------------------------------------------------------------------------------------

    def fetch(self, uri: str, *, etag: str | None, destination: Path, max_bytes: int) -> Fetched:
        key = self._key(uri)

        def attempt() -> Fetched:
            with new_file(destination) as fd:
                sink = self._bucket.run(self._download(S3Object(self._bucket, key, etag), fd, max_bytes))
            return Fetched(path=destination, size_bytes=sink.hashed_bytes, content_sha256=sink.sha256)

        try:
            return attempt()
        except TransientError as error:
            if error.reason is not Reason.OBJECT_CORRUPT:
                raise
            _log.warning("fetching again: %s", error)
            return attempt()

    async def _download(self, source: S3Object, fd: int, max_bytes: int) -> FileSink:
        digest = await source.digest() if self._verify_etags else None
        sink = FileSink(fd, lambda total: _admit(source.name, total, max_bytes), digest)
        size_bytes = await download(source, sink, self._bucket.options)
        if digest is not None and await source.differs(digest, fd, size_bytes):
            raise TransientError(
                Reason.OBJECT_CORRUPT,
                f"{source.name}: the fetched content has ETag {digest.etag()}: the network or the store damaged it; if "
                "this store does not make ETags from content, set NIGHTREEL_S3_VERIFY_ETAGS=false",
            )
        return sink

    def read(self, uri: str, *, max_bytes: int | None = None) -> bytes:
        source = S3Object(self._bucket, self._key(uri), None)
        sink = MemorySink(lambda total: _admit(uri, total, max_bytes))
        self._bucket.run(download(source, sink, self._bucket.options))
        return bytes(sink.data)

    def exists(self, uri: str) -> bool:
        try:
            self._size_bytes(self._key(uri))
        except PermanentError as error:
            if error.reason is Reason.OBJECT_GONE:
                return False
            raise
        return True

    # -- writing -------------------------------------------------------------------------------------------------

    def publish(self, name: str, data: bytes | Path) -> PublishedObject:
        key = self._prefix + checked_name(name)
        try:
            size_bytes = self._bucket.run(upload(self._bucket, key, data))
        except OSError as error:
            raise TransientError(Reason.DISK_FAILED, f"cannot read {data!r} to publish it: {error.strerror}") from error
        if size_bytes is not None:
            return PublishedObject(uri=self._bucket.uri(key), size_bytes=size_bytes, created=True)
        return PublishedObject(uri=self._bucket.uri(key), size_bytes=self._size_bytes(key), created=False)

    def delete(self, uri: str) -> bool:
        if not self.exists(uri):
            return False  # S3 reports success for deleting a missing object
        self._bucket.run(self._bucket.request("delete_object", key=self._key(uri)))
        return True

    def _size_bytes(self, key: str) -> int:
        return int(self._bucket.run(self._bucket.request("head_object", key=key))["ContentLength"])

    def _key(self, uri: str) -> str:
        start = self._bucket.uri(self._prefix)
        if not uri.startswith(start) or uri == start:
            raise outside(uri, self.url)
        return uri.removeprefix(self._bucket.uri(""))


def _admit(uri: str, size_bytes: int, max_bytes: int | None) -> None:
    if max_bytes is not None and size_bytes > max_bytes:
        raise too_large(uri, size_bytes, max_bytes)
