"""One S3 object on the wire: its ranges as streams, and its upload. `s3.py` gives it a client; it runs on that loop."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from nightreel.errors import NightreelError, TransientError
from nightreel.storage.s3_errors import translated
from nightreel.storage.transfer import in_thread

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_PART_BYTES = 32 << 20


class S3Object:
    """One version of an object, as the source of a download.

    Args:
        client: an aiobotocore S3 client.
        etag: the version, without quotes; None takes whichever there is.
        endpoint: scheme and host of the server, for messages.
    """

    def __init__(self, client: Any, bucket: str, key: str, *, etag: str | None, endpoint: str) -> None:
        self.name = f"s3://{bucket}/{key}"
        self._client = client
        self._endpoint = endpoint
        self._request = {"Bucket": bucket, "Key": key}
        self._etag = etag

    async def open(self, start: int, stop: int) -> S3Range:
        """Ask for bytes `start` to `stop`. From the first answer on, every other has to be of the same version.

        Raises:
            PermanentError: `object_gone`, `access_denied`, `no_such_bucket`.
            TransientError: `object_changed`, `storage_unreachable`.
        """
        condition = {} if self._etag is None else {"IfMatch": f'"{self._etag}"'}
        with self._translated():
            try:
                answer = await self._client.get_object(**self._request, **condition, Range=f"bytes={start}-{stop - 1}")
            except self._client.exceptions.ClientError as error:
                if start or error.response["Error"]["Code"] != "InvalidRange":
                    raise
                answer = await self._client.get_object(**self._request, **condition)  # empty: it has no first byte
        stream = S3Range(answer, self)
        try:
            self._accept(answer, stream, start, stop)
        except BaseException:
            stream.close()
            raise
        return stream

    def _accept(self, answer: dict[str, Any], stream: S3Range, start: int, stop: int) -> None:
        etag = answer["ETag"].strip('"')
        if self._etag is None:
            self._etag = etag
        elif etag != self._etag:
            raise TransientError(
                "object_changed", f"{self.name} was overwritten since it was listed ({self._etag} then, {etag} now)"
            )
        if (stream.start, stream.stop) != (start, min(stop, stream.total_bytes)):
            raise TransientError(
                "storage_unreachable",
                f"{self.name}: asked {self._endpoint} for bytes {start}-{stop - 1} and got "
                f"{answer.get('ContentRange', 'all of them')}",
            )

    def _translated(self) -> Any:
        return translated(self.name, self._endpoint, object_name=self.name)


class S3Range:
    """The bytes `start` to `stop` of an object of `total_bytes`, as they come in."""

    def __init__(self, answer: dict[str, Any], source: S3Object) -> None:
        self._body = answer["Body"]
        self._source = source
        match = _CONTENT_RANGE.fullmatch(answer.get("ContentRange", ""))
        if match:
            first, last, self.total_bytes = map(int, match.groups())
            self.start, self.stop = first, last + 1
        else:
            self.start, self.stop = 0, int(answer["ContentLength"])
            self.total_bytes = self.stop

    async def read(self, size: int) -> bytes:
        with self._source._translated():
            return await self._body.read(size)

    def close(self) -> None:
        self._body.close()


async def upload(client: Any, bucket: str, key: str, data: bytes | Path, *, endpoint: str) -> int | None:
    """Create the object if there is none, in parts when it is large; memory holds one part of a file.

    Returns:
        Its size in bytes; None when there was one already.

    Raises:
        OSError: the file cannot be read.
        PermanentError, TransientError: what went wrong with the server.
    """
    size_bytes = len(data) if isinstance(data, bytes) else (await in_thread(data.stat)).st_size
    target = {"Bucket": bucket, "Key": key}
    blocks = _blocks(data)
    try:
        if size_bytes <= _PART_BYTES:
            body = await in_thread(next, blocks, b"")
            with translated(f"s3://{bucket}/{key}", endpoint):
                await client.put_object(**target, Body=body, ContentMD5=_md5(body), IfNoneMatch="*")
        else:
            await _upload_parts(client, target, blocks, endpoint)
    except TransientError as error:
        if error.reason != "object_changed":  # what a failed precondition is called: here it means "there is one"
            raise
        return None
    return size_bytes


async def _upload_parts(client: Any, target: dict[str, str], blocks: Iterator[bytes], endpoint: str) -> None:
    what = "s3://{Bucket}/{Key}".format(**target)
    with translated(what, endpoint):
        upload_id = (await client.create_multipart_upload(**target))["UploadId"]
    try:
        parts: list[dict[str, Any]] = []
        while block := await in_thread(next, blocks, b""):
            part = {"PartNumber": len(parts) + 1}
            with translated(what, endpoint):
                answer = await client.upload_part(
                    **target, **part, UploadId=upload_id, Body=block, ContentMD5=_md5(block)
                )
            parts.append(part | {"ETag": answer["ETag"]})
        with translated(what, endpoint):
            await client.complete_multipart_upload(
                **target, UploadId=upload_id, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
    except BaseException:
        with suppress(NightreelError), translated(what, endpoint):  # the first error is the one to report
            await client.abort_multipart_upload(**target, UploadId=upload_id)
        raise


def _blocks(data: bytes | Path) -> Iterator[bytes]:
    if isinstance(data, bytes):
        for start in range(0, len(data), _PART_BYTES):
            yield data[start : start + _PART_BYTES]
        return
    with data.open("rb") as file:
        while block := file.read(_PART_BYTES):
            yield block


def _md5(block: bytes) -> str:
    return base64.b64encode(hashlib.md5(block, usedforsecurity=False).digest()).decode()
