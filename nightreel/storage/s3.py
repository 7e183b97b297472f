"""A bucket as object storage: listing by pages, parallel ranged downloads, create-only publishing.

Made by `open_storage`. The requests are in `s3_bucket.py`, `s3_listing.py`, `s3_object.py` and `s3_upload.py`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from nightreel.domain import StoredObject
from nightreel.errors import PermanentError, TransientError
from nightreel.host_errors import host_error
from nightreel.reasons import Reason
from nightreel.storage.base import Fetched, PublishedObject, Storage, checked_name, outside, too_large
from nightreel.storage.disk import new_file
from nightreel.storage.s3_bucket import S3Bucket
from nightreel.storage.s3_errors import lacking
from nightreel.storage.s3_listing import list_bucket
from nightreel.storage.s3_object import S3Object
from nightreel.storage.s3_upload import upload
from nightreel.storage.sinks import FileSink, MemorySink
from nightreel.storage.transfer import TransferOptions, download

_log = logging.getLogger(__name__)
_REFUSALS = (Reason.OBJECT_DENIED, Reason.STORAGE_REFUSED)
_WITNESSES = 8


class S3Storage(Storage):
    """The objects below a prefix of a bucket. The prefix is a directory: `s3://b/x` does not hold `x1.mp4`.

    Args:
        bucket: its name.
        prefix: without slashes at its ends; empty for the whole bucket.
        endpoint_url: the server; None for Amazon's.
        requester_pays: pay for requests to a bucket of someone else.
        verify_etags: verify fetched objects with ETags that look like the MD5 of the content.
        options: parallelism, timeouts and retries of transfers.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        endpoint_url: str | None,
        requester_pays: bool,
        verify_etags: bool,
        options: TransferOptions,
    ) -> None:
        super().__init__(f"s3://{bucket}/{prefix}".rstrip("/"))
        self._prefix = f"{prefix}/" if prefix else ""
        self._verify_etags = verify_etags
        self._bucket = S3Bucket(bucket, endpoint_url=endpoint_url, requester_pays=requester_pays, options=options)
        self._last_read: str | None = None

    # -- listing -------------------------------------------------------------------------------------------------

    def _pages(
        self, start_after: str | None, page_size: int, on_skipped: Callable[[str], None]
    ) -> Iterator[list[StoredObject]]:
        return list_bucket(
            self._bucket,
            self._prefix,
            start_after=None if start_after is None else self._key(start_after),
            page_size=page_size,
            on_skipped=on_skipped,
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
            try:
                fetched = attempt()
            except TransientError as error:
                if error.reason is not Reason.OBJECT_CORRUPT:
                    raise
                _log.warning("fetching again: %s", error)
                fetched = attempt()
        except PermanentError as error:
            if error.reason in _REFUSALS and self._refuses_others(key):
                raise PermanentError(Reason.ACCESS_DENIED, f"{error.detail}; other objects are refused too") from error
            raise
        self._last_read = key
        return fetched

    def _refuses_others(self, key: str) -> bool:
        """Whether the store refuses other objects too, so that the keys are at fault and not the object `key`.

        It is asked for the object that was read last or, before the first one, for some objects of the listing.

        Raises:
            PermanentError: the store refuses the keys for the listing too, or says that they are wrong.
        """
        witnesses = [self._last_read] if self._last_read not in (None, key) else []
        if not witnesses:
            page = next(self._pages(None, 1000, lambda _: None), [])
            listed = [self._key(item.uri) for item in page if item.uri != self._bucket.uri(key)]
            witnesses = random.sample(listed, min(_WITNESSES, len(listed)))
        return all(self._refuses(witness) for witness in witnesses if witness)

    def _refuses(self, key: str) -> bool:
        try:
            self._bucket.run(self._bucket.read_part(key, None, 0, 1))
        except PermanentError as error:
            if error.reason is Reason.ACCESS_DENIED:
                raise
            return error.reason in _REFUSALS
        return False

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

    def read_part(self, uri: str, *, etag: str | None, start: int, most_bytes: int) -> bytes:
        return self._bucket.run(self._bucket.read_part(self._key(uri), etag, start, most_bytes))

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
            raise host_error(error) or TransientError(
                Reason.DISK_FAILED, f"cannot read {data!r} to publish it: {error.strerror}"
            ) from error
        if size_bytes is not None:
            return PublishedObject(uri=self._bucket.uri(key), size_bytes=size_bytes, created=True)
        return PublishedObject(uri=self._bucket.uri(key), size_bytes=self._size_bytes(key), created=False)

    def replace(self, name: str, data: bytes) -> PublishedObject:
        key = self._prefix + checked_name(name)
        self._bucket.run(upload(self._bucket, key, data, create_only=False))
        return PublishedObject(uri=self._bucket.uri(key), size_bytes=len(data), created=True)

    def delete(self, uri: str) -> bool:
        if not self.exists(uri):
            return False  # S3 reports success for deleting a missing object
        self._bucket.run(self._bucket.request("delete_object", key=self._key(uri)))
        return True

    def _size_bytes(self, key: str) -> int:
        reply = self._bucket.run(self._bucket.request("head_object", key=key))
        if "ContentLength" not in reply:
            raise lacking(self._bucket.uri(key), self._bucket.endpoint, "Content-Length")
        return int(reply["ContentLength"])

    def _key(self, uri: str) -> str:
        start = self._bucket.uri(self._prefix)
        if not uri.startswith(start) or uri == start:
            raise outside(uri, self.url)
        return uri.removeprefix(self._bucket.uri(""))


def _admit(uri: str, size_bytes: int, max_bytes: int | None) -> None:
    if max_bytes is not None and size_bytes > max_bytes:
        raise too_large(uri, size_bytes, max_bytes)
