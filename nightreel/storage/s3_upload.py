"""Upload one object, in one request or in parts. Used by `s3.py`."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from nightreel.errors import NightreelError, TransientError
from nightreel.reasons import Reason
from nightreel.storage.s3_bucket import S3Bucket
from nightreel.storage.s3_errors import lacking
from nightreel.storage.transfer import in_thread

_PART_BYTES = 16 << 20  # at most 10,000 parts: 156 GiB
_CREATE_ONLY = {"IfNoneMatch": "*"}


async def upload(bucket: S3Bucket, key: str, data: bytes | Path, *, create_only: bool = True) -> int | None:
    """Create the object. Memory holds a few parts of a file, not all of it.

    Args:
        create_only: change nothing if it exists; False: replace it.

    Returns:
        Its size in bytes; None if the object existed already.

    Raises:
        OSError: the file cannot be read.
        PermanentError, TransientError: a request failed.
    """
    size_bytes = len(data) if isinstance(data, bytes) else (await in_thread(data.stat)).st_size
    blocks = _blocks(data)
    condition = _CREATE_ONLY if create_only else {}
    try:
        if size_bytes > _PART_BYTES:
            await _upload_parts(bucket, key, blocks, condition)
        else:
            body = await in_thread(next, blocks, b"")
            await bucket.request("put_object", key=key, Body=body, ContentMD5=_md5(body), **condition)
    except TransientError as error:
        if not create_only or error.reason is not Reason.OBJECT_CHANGED:  # the condition failed: the object exists
            raise
        return None
    return size_bytes


async def _upload_parts(bucket: S3Bucket, key: str, blocks: Iterator[bytes], condition: dict[str, str]) -> None:
    upload_id = (await bucket.request("create_multipart_upload", key=key)).get("UploadId")
    if not upload_id:
        raise lacking(bucket.uri(key), bucket.endpoint, "UploadId")
    parts: list[dict[str, Any]] = []
    try:
        while block := await in_thread(next, blocks, b""):
            number = len(parts) + 1
            answer = await bucket.request(
                "upload_part", key=key, UploadId=upload_id, PartNumber=number, Body=block, ContentMD5=_md5(block)
            )
            if "ETag" not in answer:
                raise lacking(f"{bucket.uri(key)}, part {number}", bucket.endpoint, "ETag")
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        await bucket.request(
            "complete_multipart_upload",
            key=key,
            UploadId=upload_id,
            MultipartUpload={"Parts": parts},
            **condition,
        )
    except BaseException:
        with suppress(NightreelError):  # report the first error; the bucket's rules expire the remaining parts
            await bucket.once("abort_multipart_upload", key=key, UploadId=upload_id)
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
