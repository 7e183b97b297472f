"""Requests to a bucket, through the client of s3fs and on its event loop, retried when that may help.

`s3.py`, `s3_object.py` and `s3_upload.py` make their requests here. The filesystem calls of s3fs are not used: `find`
holds every key in memory, and `cat_file` and `get_file` do not support If-Match.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from contextlib import closing
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
from botocore.parsers import ResponseParserError
from s3fs import S3FileSystem

from nightreel.errors import PermanentError
from nightreel.proxies import is_loopback, via_proxy
from nightreel.reasons import Reason
from nightreel.storage.retrying import retrying
from nightreel.storage.s3_errors import translated
from nightreel.storage.s3_replies import BoundedSession, tolerant_session
from nightreel.storage.transfer import TransferOptions

_T = TypeVar("_T")
_CONNECTIONS = 64
_CONNECT_TIMEOUT_S = 5
_READS = ("get_object", "head_object")


class S3Bucket:
    """Requests to one bucket.

    Args:
        name: of the bucket.
        endpoint_url: the server; None for Amazon's.
        requester_pays: tell the store that the owner of the keys pays for the requests.
        options: number of tries, and timeout of a reply.
    """

    def __init__(self, name: str, *, endpoint_url: str | None, requester_pays: bool, options: TransferOptions) -> None:
        self.name = name
        self.options = options
        url = endpoint_url or "https://s3.amazonaws.com"
        direct: dict[str, Any] = {"proxies": {}} if is_loopback(url) else {}
        self.endpoint = _without_secrets(endpoint_url) + via_proxy(url, uses_all_proxy=False)
        self.is_amazon = endpoint_url is None
        self._payer = {"RequestPayer": "requester"} if requester_pays else {}
        self._files = S3FileSystem(
            session=tolerant_session(),
            endpoint_url=endpoint_url,
            skip_instance_cache=True,  # s3fs caches instances by arguments, but keys come from elsewhere
            use_listings_cache=False,
            config_kwargs={
                **direct,
                "http_session_cls": BoundedSession,
                "connect_timeout": _CONNECT_TIMEOUT_S,
                "read_timeout": options.stall_s,
                "max_pool_connections": _CONNECTIONS,
                "retries": {"total_max_attempts": 1},  # this module retries, which tests can make quick
                # many S3-compatible servers do not know the newer checksum headers; uploads send Content-MD5
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            },
        )

    def uri(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    async def once(self, operation: str, *, key: str | None = None, **arguments: Any) -> dict[str, Any]:
        """Make one request. A failure raises one of this project's errors.

        Args:
            operation: the name of a method of the client, such as "get_object".
            key: of the object, if the request is for one.
        """
        target = {"Bucket": self.name} if key is None else {"Bucket": self.name, "Key": key}
        what = self.uri(arguments.get("Prefix", "") if key is None else key).rstrip("/")
        denied = Reason.OBJECT_DENIED if operation in _READS else Reason.ACCESS_DENIED
        with translated(what, self.endpoint, object_name=None if key is None else what, denied=denied):
            client = await self._files.set_session()  # made on first use, when it looks up the keys
            try:
                async with asyncio.timeout(self.options.reply_s):
                    reply: dict[str, Any] = await getattr(client, operation)(**target, **self._payer, **arguments)
            except ValueError as error:
                if isinstance(error, aiohttp.ClientError):
                    raise
                raise ResponseParserError(f"a value in the reply is wrong: {error}") from error
            return reply

    async def request(self, operation: str, *, key: str | None = None, **arguments: Any) -> dict[str, Any]:
        """Make one request, with retries while the storage is unreachable."""
        return await retrying(lambda: self.once(operation, key=key, **arguments), self.options.tries())

    async def read_part(self, key: str, etag: str | None, start: int, most_bytes: int) -> bytes:
        """Bytes of an object from `start` on; none if it ends before. Another version than `etag` is refused."""
        condition = {} if etag is None else {"IfMatch": f'"{etag}"'}
        part = f"bytes={start}-{start + most_bytes - 1}"

        async def attempt() -> bytes:
            try:
                reply = await self.once("get_object", key=key, Range=part, **condition)
            except PermanentError as error:
                if error.reason is Reason.INVALID_RANGE:
                    return b""
                raise
            body = reply["Body"]
            with closing(body), translated(self.uri(key), self.endpoint):
                async with asyncio.timeout(self.options.stall_s):
                    return await _first(body, most_bytes)

        return await retrying(attempt, self.options.tries())

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine on the loop of s3fs, in its thread, and wait. It has ended when this returns or raises."""
        loop = self._files.loop
        outcome: Future[_T] = Future()
        task: asyncio.Task[_T] | None = None

        def begin() -> None:
            nonlocal task
            task = loop.create_task(coroutine)
            task.add_done_callback(deliver)

        def deliver(done: asyncio.Task[_T]) -> None:
            error = asyncio.CancelledError() if done.cancelled() else done.exception()
            if error is None:
                outcome.set_result(done.result())
            else:
                outcome.set_exception(error)

        def cancel() -> None:
            assert task is not None, "a loop runs callbacks in the order in which they were submitted"
            task.cancel()

        loop.call_soon_threadsafe(begin)
        try:
            return outcome.result()
        except BaseException:
            if not outcome.done():  # this thread was interrupted while the download still writes to an open file
                loop.call_soon_threadsafe(cancel)
                wait([outcome])
            raise


async def _first(body: Any, most_bytes: int) -> bytes:
    start = b""
    while len(start) < most_bytes and (block := await body.read(most_bytes - len(start))):
        start += block
    return start


def _without_secrets(endpoint_url: str | None) -> str:
    if endpoint_url is None:
        return "Amazon S3"
    try:
        parts = urlsplit(endpoint_url)
    except ValueError:  # the first request reports it
        return "NIGHTREEL_S3_ENDPOINT_URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
