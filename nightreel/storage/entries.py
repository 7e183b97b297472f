"""Which entries of a listing can be videos: every listing, of a directory, a bucket or an inventory, asks here.

An entry that Postgres cannot store or index would end the run that lists it, and with it all the others. So it is
skipped, and reported with the reason.
"""

from __future__ import annotations

from datetime import UTC, datetime

from nightreel.domain import StoredObject

LONGEST_ENTRY = 2600
"""Bytes of URI and ETag together. An entry of a btree in Postgres takes 2704, with what else is beside them."""
LARGEST_OBJECT = 1 << 50
"""1 PiB: twenty times what any store takes, and far below what a sum of sizes can hold."""

_EARLIEST, _LATEST = datetime(2, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_LONGEST_SHOWN = 200


def usable(
    uri: str, etag: str, size_bytes: int, modified_at: datetime | None, *, archived: bool = False
) -> StoredObject | str:
    """The entry of an object, or why it cannot be used, for "key k: why".

    >>> usable("s3://b/a.mp4", "1", -5, datetime(2026, 1, 1, tzinfo=UTC))
    'its size of -5 bytes is impossible; copy it onto itself'
    """
    if "\0" in uri or "\0" in etag:
        return "text in Postgres cannot hold NUL; rename it"
    try:
        length = len(uri.encode()) + len(etag.encode())
    except UnicodeEncodeError:
        return "its name or ETag is not valid Unicode; rename it"
    if length > LONGEST_ENTRY:
        return f"its URI and ETag have {length:,} bytes, but an index of Postgres takes {LONGEST_ENTRY:,}: shorten it"
    if not 0 <= size_bytes <= LARGEST_OBJECT:
        return f"its size of {str(size_bytes)[:30]} bytes is impossible; copy it onto itself"
    if modified_at is None or not is_possible_date(modified_at):
        return "its date is impossible; copy it onto itself"
    return StoredObject(uri=uri, etag=etag, size_bytes=size_bytes, modified_at=modified_at, archived=archived)


def is_possible_date(date: datetime) -> bool:
    """Whether a date can be stored in Postgres and read back in any time zone."""
    return _EARLIEST < date < _LATEST


def shown(name: str) -> str:
    """A name for a message: short, with escapes for what is not printable."""
    return repr(name) if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]!r}... ({len(name):,} characters)"
