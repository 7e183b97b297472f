"""Object storage: a directory or an S3 bucket behind one interface, made by `open_storage`; and S3 inventories.

    base.py       the interface and the rules for every storage
    local.py      a directory;  walk.py: its files in order;  beneath.py: no link leads out of it
    s3.py         a bucket;  s3_bucket.py: requests;  s3_listing.py: pages of objects;  s3_object.py, s3_upload.py:
                  one object;  s3_replies.py: limits of replies;  s3_errors.py: errors
    transfer.py   parallel, resumable range downloads;  retrying.py: retries;  sinks.py: their destinations
    etags.py      check whether the downloaded bytes are the stored ones
    disk.py       write whole files or none, on a disk that may be full
    spool.py      fetched files on disk, up to a limit
    choice.py     files and directories that a person names, as a source and what to take of it
    inventory.py  a list that the store makes of a bucket;  inventory_rows.py: the entries in its files;
                  parquet_entries.py: those of Parquet, in a process of its own
    entries.py    which entries of a listing can be used

Other packages import only the names in `__all__`, `Spool`, and `Inventory` as a type. Only this package imports s3fs,
botocore and aiohttp.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

from nightreel.errors import SettingsError
from nightreel.reasons import Reason
from nightreel.settings import Settings
from nightreel.storage.base import Fetched, PublishedObject, Storage
from nightreel.storage.choice import Choice, choose, uri_of
from nightreel.storage.local import LocalStorage
from nightreel.storage.transfer import TransferOptions

if TYPE_CHECKING:
    from nightreel.storage.inventory import Inventory

__all__ = [
    "Choice",
    "Fetched",
    "PublishedObject",
    "Storage",
    "TransferOptions",
    "choose",
    "open_inventory",
    "open_storage",
    "uri_of",
]

_EXPECTED = "expected a directory, file:///directory or s3://bucket/prefix"


def open_storage(url: str, settings: Settings, *, options: TransferOptions | None = None) -> Storage:
    """Make the storage for `url`. Does not access it: `check()` reports whether it exists.

    Args:
        url: a directory, absolute or relative, `file:///directory` or `s3://bucket/prefix`.
        settings: for the S3 endpoint. Keys come from where AWS tools look for them.
        options: parallelism, timeouts and retries of S3 transfers.

    Raises:
        SettingsError: the url is of another kind.
    """
    scheme, separator, rest = url.partition("://")
    if not url.strip():
        raise SettingsError(f"no source is given: set NIGHTREEL_SOURCE, {_EXPECTED}")
    if not separator or scheme == "file":
        try:
            path = (_path_of(url) if separator else Path(url).expanduser()).resolve()
            return LocalStorage(path, follow_links=settings.follow_links)
        except (RuntimeError, ValueError) as error:  # an unknown user's home, a loop of links, a NUL
            raise SettingsError(f"{url!r} is not a path: {error}; {_EXPECTED}") from error
    if scheme == "s3":
        from nightreel.storage.s3 import S3Storage  # s3fs takes half a second to import; directories do not need it

        bucket, _, prefix = rest.partition("/")
        if not bucket or "@" in bucket or ":" in bucket:
            raise SettingsError("s3://: expected s3://bucket/prefix; set AWS_ACCESS_KEY_ID and its secret for keys")
        return S3Storage(
            bucket,
            prefix.strip("/"),
            endpoint_url=settings.s3_endpoint_url,
            requester_pays=settings.s3_requester_pays,
            verify_etags=settings.s3_verify_etags,
            options=options or TransferOptions(),
        )
    raise SettingsError(f"{scheme}:// is not a known storage: {_EXPECTED}", reason=Reason.UNSUPPORTED_SCHEME)


def open_inventory(settings: Settings, *, source: Storage) -> Inventory:
    """Make the inventory of NIGHTREEL_INVENTORY for a source. Reads nothing yet."""
    from nightreel.storage.inventory import Inventory

    return Inventory(
        settings.inventory,
        source_url=source.url,
        open_at=lambda url: open_storage(url, settings),
        directory=settings.work_dir / "spool",
    )


def _path_of(url: str) -> Path:
    host = urlsplit(url).netloc
    if host not in ("", "localhost"):
        raise SettingsError(f"{url!r} names the host {host!r}: {_EXPECTED}, with three slashes after file:")
    path = url.removeprefix("file://").removeprefix("localhost")
    return Path(os.fsdecode(unquote_to_bytes(path)))
