"""Listing of a bucket by pages, from replies that may lack fields or hold impossible dates. Used by `s3.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from nightreel.domain import StoredObject
from nightreel.errors import TransientError
from nightreel.reasons import Reason
from nightreel.storage.base import is_possible_date
from nightreel.storage.s3_bucket import S3Bucket
from nightreel.storage.s3_errors import lacking

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
            if entries and not any(field in entry for entry in entries):
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


def _object(bucket: S3Bucket, entry: dict[str, Any], on_skipped: Callable[[str], None]) -> StoredObject | None:
    key = entry.get("Key", "")
    if key.endswith("/"):
        return None  # a folder marker
    missing = [field for field in _OF_AN_OBJECT if entry.get(field) in (None, "", '""') and field != "LastModified"]
    problem = None
    if "\0" in key:
        problem = "text in Postgres cannot hold NUL; rename it"
    elif missing:
        problem = f"the server does not tell its {' and '.join(missing)}"
    elif not is_possible_date(entry.get("LastModified")):
        problem = "its date is impossible; copy it onto itself"
    if problem:
        on_skipped(f"key {key!r} in s3://{bucket.name}: {problem}")
        return None
    return StoredObject(
        uri=bucket.uri(key),
        etag=entry["ETag"].strip('"'),
        size_bytes=entry["Size"],
        modified_at=entry["LastModified"],
        archived=bucket.is_amazon
        and entry.get("StorageClass") in _ARCHIVES
        and "RestoreExpiryDate" not in entry.get("RestoreStatus", {}),
    )
