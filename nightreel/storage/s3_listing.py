"""Listing of a bucket by pages, from replies that may lack fields or hold impossible values. Used by `s3.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from nightreel.domain import StoredObject
from nightreel.errors import TransientError
from nightreel.reasons import Reason
from nightreel.storage.entries import shown, usable
from nightreel.storage.s3_bucket import S3Bucket
from nightreel.storage.s3_errors import lacking
from nightreel.storage.s3_replies import UNWRITABLE

_OF_A_LISTING = {"Contents", "IsTruncated", "KeyCount", "Name"}
_OF_AN_OBJECT = ("Key", "ETag", "Size", "LastModified")
# Amazon's classes that must be restored before they can be read.
_ARCHIVES = {"GLACIER", "DEEP_ARCHIVE"}


def list_bucket(
    bucket: S3Bucket,
    prefix: str,
    *,
    start_after: str | None,
    page_size: int,
    on_skipped: Callable[[str], None],
) -> Iterator[list[StoredObject]]:
    """List the objects below a prefix, in the order of the server.

    An object that cannot be used is skipped. A field that a whole page lacks is an error of the server.

    Args:
        prefix: of keys. start_after: a key.
        on_skipped: called with a sentence for each skipped object.

    Raises:
        PermanentError: `unsupported_store`, or an error of the place (see `Storage`).
        TransientError: `storage_unreachable`.
    """
    url = bucket.uri(prefix)
    position = {} if start_after is None else {"StartAfter": start_after}
    # Other stores may refuse a header that they do not know.
    extra: dict[str, Any] = {"OptionalObjectAttributes": ["RestoreStatus"]} if bucket.is_amazon else {}
    more = True
    while more:
        reply = bucket.run(bucket.request("list_objects_v2", Prefix=prefix, MaxKeys=page_size, **position, **extra))
        entries: list[dict[str, Any]] = reply.get("Contents", [])
        if not _OF_A_LISTING & reply.keys():
            raise lacking(url, bucket.endpoint, "a list of objects")
        for field in _OF_AN_OBJECT:
            if entries and not any(_has(entry, field) for entry in entries):
                raise lacking(url, bucket.endpoint, f"the {field} of objects")
        page = [item for entry in entries if (item := _object(bucket, entry, on_skipped))]
        if page:
            yield page
        following = reply.get("NextContinuationToken")
        more = reply.get("IsTruncated", following is not None or len(entries) >= page_size)
        if more:
            if following is None:
                raise lacking(url, bucket.endpoint, "NextContinuationToken, so the listing cannot continue")
            if position == {"ContinuationToken": following}:
                raise TransientError(Reason.STORAGE_UNREACHABLE, f"{url}: the server sent the same page again")
            position = {"ContinuationToken": following}


def _has(entry: dict[str, Any], field: str) -> bool:
    return field in entry and (entry[field] is not None or field == "LastModified")  # None: it cannot be read


def _object(bucket: S3Bucket, entry: dict[str, Any], on_skipped: Callable[[str], None]) -> StoredObject | None:
    key = entry.get("Key", "")
    if key.endswith("/"):
        return None  # a folder marker
    missing = [field for field in _OF_AN_OBJECT if entry.get(field) in (None, "", '""') and field != "LastModified"]
    if UNWRITABLE in key:
        item: StoredObject | str = "the server cannot write it in XML; rename it"
    elif missing:
        item = f"the server does not tell its {' and '.join(missing)}"
    else:
        item = usable(
            bucket.uri(key),
            entry["ETag"].strip('"'),
            entry["Size"],
            entry.get("LastModified"),
            archived=bucket.is_amazon
            and entry.get("StorageClass") in _ARCHIVES
            and "RestoreExpiryDate" not in entry.get("RestoreStatus", {}),
        )
    if isinstance(item, str):
        on_skipped(f"key {shown(key)} in s3://{bucket.name}: {item}")
        return None
    return item
