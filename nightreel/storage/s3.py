"""A bucket as object storage: listing by pages, parallel ranged downloads, create-only publishing.

Made by `open_storage`. It goes through the client that s3fs makes and the event loop that s3fs runs, and not through
the filesystem calls of s3fs: `find` holds every key in memory, and `cat_file` and `get_file` know no If-Match.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from s3fs import S3FileSystem

from nightreel.domain import StoredObject
from nightreel.errors import PermanentError, TransientError
from nightreel.storage.base import Fetched, PublishedObject, Storage, checked_name, outside, too_large
from nightreel.storage.disk import new_file
from nightreel.storage.s3_errors import translated
from nightreel.storage.s3_object import S3Object, upload
from nightreel.storage.sinks import FileSink, MemorySink
from nightreel.storage.transfer import TransferOptions, download

_T = TypeVar("_T")
_CONNECTIONS = 64


class S3Storage(Storage):
    """The objects below a prefix of a bucket. The prefix is a directory: `s3://b/x` does not hold `x1.mp4`.

    Args:
        bucket: its name.
        prefix: without slashes at its ends; empty for the whole bucket.
        endpoint_url: the server; None for Amazon's.
        options: how hard transfers try.
    """

    def __init__(self, bucket: str, prefix: str, *, endpoint_url: str | None, options: TransferOptions) -> None:
        super().__init__(f"s3://{bucket}/{prefix}".rstrip("/"))
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._options = options
        self._endpoint = _without_secrets(endpoint_url)
        self._files = S3FileSystem(
            endpoint_url=endpoint_url,
            skip_instance_cache=True,  # instances are cached by arguments, and keys come from elsewhere
            use_listings_cache=False,
            config_kwargs={
                "connect_timeout": 5,
                "read_timeout": options.stall_s,
                "max_pool_connections": _CONNECTIONS,
                "retries": {"mode": "standard", "total_max_attempts": 4},
                # many S3-compatible servers know none of the newer checksum headers; publishing sends Content-MD5
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            },
        )

    # -- listing -------------------------------------------------------------------------------------------------

    def _pages(
        self, start_after: str | None, page_size: int, on_skipped: Callable[[str], None]
    ) -> Iterator[list[StoredObject]]:
        after = {} if start_after is None else {"StartAfter": self._key(start_after)}
        client = self._client()
        pages = (
            client.get_paginator("list_objects_v2")
            .paginate(Bucket=self._bucket, Prefix=self._prefix, PaginationConfig={"PageSize": page_size}, **after)
            .__aiter__()
        )
        while (answer := self._call(lambda: anext(pages, None))) is not None:
            page = []
            for entry in answer.get("Contents", ()):
                if "\0" in entry["Key"]:
                    on_skipped(f"key {entry['Key']!r}: text in Postgres cannot hold NUL")
                elif not entry["Key"].endswith("/"):  # a marker that consoles show as a folder
                    page.append(self._listed(entry))
            if page:
                yield page

    def _listed(self, entry: dict[str, Any]) -> StoredObject:
        return StoredObject(
            uri=f"s3://{self._bucket}/{entry['Key']}",
            etag=entry["ETag"].strip('"'),
            size_bytes=entry["Size"],
            modified_at=entry["LastModified"],
        )

    def check(self) -> None:
        client = self._client()
        self._call(lambda: client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1))

    # -- reading -------------------------------------------------------------------------------------------------

    def fetch(self, uri: str, *, etag: str, destination: Path, max_bytes: int) -> Fetched:
        source = self._source(uri, etag)
        with new_file(destination) as fd:
            sink = FileSink(fd, lambda total: _admit(uri, total, max_bytes))
            size_bytes = self._run(download(source, sink, self._options))
        return Fetched(path=destination, size_bytes=size_bytes, content_sha256=sink.sha256)

    def read(self, uri: str, *, max_bytes: int | None = None) -> bytes:
        sink = MemorySink(lambda total: _admit(uri, total, max_bytes))
        self._run(download(self._source(uri, None), sink, self._options))
        return bytes(sink.data)

    def _source(self, uri: str, etag: str | None) -> S3Object:
        return S3Object(self._client(), self._bucket, self._key(uri), etag=etag, endpoint=self._endpoint)

    # -- writing -------------------------------------------------------------------------------------------------

    def publish(self, name: str, data: bytes | Path) -> PublishedObject:
        key = self._prefix + checked_name(name)
        uri = f"s3://{self._bucket}/{key}"
        client = self._client()
        try:
            size_bytes = self._run(upload(client, self._bucket, key, data, endpoint=self._endpoint))
        except OSError as error:
            raise TransientError("disk_failed", f"cannot read {data!r} to publish it: {error.strerror}") from error
        if size_bytes is None:
            return PublishedObject(uri=uri, size_bytes=self._size_bytes(key), created=False)
        return PublishedObject(uri=uri, size_bytes=size_bytes, created=True)

    def delete(self, uri: str) -> bool:
        key = self._key(uri)
        client = self._client()
        try:
            self._size_bytes(key)
        except PermanentError as error:
            if error.reason == "object_gone":
                return False
            raise
        self._call(lambda: client.delete_object(Bucket=self._bucket, Key=key))
        return True

    def _size_bytes(self, key: str) -> int:
        client = self._client()
        answer = self._call(
            lambda: client.head_object(Bucket=self._bucket, Key=key), object_name=f"s3://{self._bucket}/{key}"
        )
        return int(answer["ContentLength"])

    # -- how calls are made ----------------------------------------------------------------------------------------

    def _key(self, uri: str) -> str:
        start = f"s3://{self._bucket}/{self._prefix}"
        if not uri.startswith(start) or uri == start:
            raise outside(uri, self.url)
        return uri.removeprefix(f"s3://{self._bucket}/")

    def _client(self) -> Any:
        """The client of s3fs, made on first use: that is when keys are looked for, so it can fail."""
        return self._call(self._files.set_session)

    def _call(self, request: Callable[[], Awaitable[_T]], *, object_name: str | None = None) -> _T:
        """Make one request on the loop and wait for its answer; errors are this project's."""

        async def answer() -> _T:
            with translated(object_name or self.url, self._endpoint, object_name=object_name):
                return await request()

        return self._run(answer())

    def _run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run it on the loop of s3fs, in another thread. It has ended when this returns, however it ends."""
        ended = threading.Event()

        async def run() -> _T:
            try:
                return await coroutine
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(run(), self._files.loop)
        try:
            return future.result()
        except BaseException:
            if not future.done():  # this thread was interrupted, and the download still writes to an open file
                future.cancel()
                ended.wait()
            raise


def _admit(uri: str, size_bytes: int, max_bytes: int | None) -> None:
    if max_bytes is not None and size_bytes > max_bytes:
        raise too_large(uri, size_bytes, max_bytes)


def _without_secrets(endpoint_url: str | None) -> str:
    if endpoint_url is None:
        return "Amazon S3"
    parts = urlsplit(endpoint_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
