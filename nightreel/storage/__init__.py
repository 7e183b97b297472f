"""Object storage: a directory or an S3 bucket behind one interface, made by `open_storage`. And lists of a bucket.

    base.py       what a storage can do; the rules for all of them
    local.py      a directory;  walk.py: its files in order
    s3.py         a bucket;  s3_bucket.py: requests;  s3_object.py, s3_upload.py: one object;  s3_errors.py: failures
    transfer.py   parallel ranges that resume;  retrying.py: how often;  sinks.py: where they go
    etags.py      whether what arrived is what was stored
    disk.py       whole files or none, on a disk that may be full
    inventory.py  a bucket's own list of itself;  inventory_rows.py: the entries in its files

Nothing outside imports more than what this file names. s3fs, botocore and aiohttp are imported in here alone.
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
from nightreel.storage.local import LocalStorage
from nightreel.storage.transfer import TransferOptions

if TYPE_CHECKING:
    from nightreel.storage.inventory import Inventory

__all__ = ["Fetched", "PublishedObject", "Storage", "TransferOptions", "open_inventory", "open_storage"]

_EXPECTED = "expected a directory, file:///directory or s3://bucket/prefix"


def open_storage(url: str, settings: Settings, *, options: TransferOptions | None = None) -> Storage:
    """The storage that `url` means. Nothing is touched yet: call `check()` to know whether it is there.

    Args:
        url: a directory, absolute or relative, `file:///directory` or `s3://bucket/prefix`.
        settings: the S3 endpoint. Keys come from where AWS tools look for them.
        options: how hard S3 transfers try.

    Raises:
        SettingsError: a url of another kind.
    """
    scheme, separator, rest = url.partition("://")
    if not url.strip():
        raise SettingsError(f"no source is given: set NIGHTREEL_SOURCE, {_EXPECTED}")
    if not separator or scheme == "file":
        try:
            return LocalStorage((_path_of(url) if separator else Path(url).expanduser()).resolve())
        except (RuntimeError, ValueError) as error:  # no such user's home, a loop of links, a NUL
            raise SettingsError(f"{url!r} is no path: {error}; {_EXPECTED}") from error
    if scheme == "s3":
        from nightreel.storage.s3 import S3Storage  # s3fs takes half a second to import; directories do without

        bucket, _, prefix = rest.partition("/")
        if not bucket or "@" in bucket or ":" in bucket:
            raise SettingsError("s3://: expected s3://bucket/prefix; keys go to AWS_ACCESS_KEY_ID and its secret")
        return S3Storage(
            bucket,
            prefix.strip("/"),
            endpoint_url=settings.s3_endpoint_url,
            verify_etags=settings.s3_verify_etags,
            options=options or TransferOptions(),
        )
    raise SettingsError(f"{scheme}:// is no storage this program knows: {_EXPECTED}", reason=Reason.UNSUPPORTED_SCHEME)


def open_inventory(settings: Settings, *, source: Storage) -> Inventory:
    """What NIGHTREEL_INVENTORY lists of a source. Nothing is touched yet."""
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
        raise SettingsError(f"{url!r} names the host {host!r}: {_EXPECTED}; three slashes before the first directory")
    path = url.removeprefix("file://").removeprefix("localhost")
    return Path(os.fsdecode(unquote_to_bytes(path)))
