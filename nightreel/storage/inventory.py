"""Read an Amazon S3 Inventory instead of a listing: a manifest, and the files of entries that it names.

`open_inventory` makes it. It is for buckets whose listing takes longer than a night: the store makes an inventory
itself, daily or weekly. An inventory is some hours old. Newer uploads come with the next one. Objects deleted since
turn out to be gone when they are fetched. `as_of` lets discovery keep what it knows to be newer.

Entries come in the order of the files, not of the keys. After an error, the file in which it happened is read again. A
sweep needs the order of keys, so it lists the bucket.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, Field

from nightreel.domain import StoredObject
from nightreel.errors import PermanentError, SettingsError, TransientError
from nightreel.reasons import Reason
from nightreel.storage.base import Storage, one_ahead, warn_skipped
from nightreel.storage.entries import LARGEST_OBJECT, shown, usable
from nightreel.storage.inventory_rows import Entry, entry_reader
from nightreel.storage.spool import Spool

_MANIFEST = "manifest.json"
_CHECKSUM = "manifest.checksum"
_DATED = re.compile(rf"(\d{{4}}-\d\d-\d\dT\d\d-\d\dZ)/({re.escape(_MANIFEST)}|{re.escape(_CHECKSUM)})")
_LARGEST_MANIFEST = 16 << 20  # 60,000 files
_LATEST_MS = 253_370_764_800_000  # the year 9999
_ANY_SIZE = 1 << 62

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryFile:
    """A file of entries, as a manifest names it."""

    uri: str
    size_bytes: int
    md5: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A manifest: which bucket the inventory lists, and where its files are.

    Args:
        began_at: when the store started the inventory. Its entries may be some hours older.
        files_at: the bucket that holds the files.
        read: reads the entries in one file; called with its path, its uri for messages, and `on_skipped`.
    """

    uri: str
    source_bucket: str
    began_at: datetime
    files: tuple[InventoryFile, ...]
    files_at: Storage
    read: Callable[[Path, str, Callable[[str], None]], Iterator[Entry]]


class _StatedFile(BaseModel):
    key: str
    size_bytes: int = Field(alias="size", ge=0, le=LARGEST_OBJECT)
    md5: str = Field(alias="MD5checksum", pattern="^[0-9a-fA-F]{32}$")


class _Stated(BaseModel):
    """What a manifest says. Other fields are not read."""

    source: str = Field(alias="sourceBucket")
    destination: str = Field("", alias="destinationBucket")
    began_ms: int = Field(alias="creationTimestamp", ge=0, le=_LATEST_MS)
    file_format: str = Field(alias="fileFormat")
    file_schema: str = Field(alias="fileSchema")
    files: tuple[_StatedFile, ...]


class Inventory:
    """The current objects below a source, from an inventory. Not thread-safe.

    The constructor reads nothing. The manifest is chosen once, so all pages are from one inventory.

    Args:
        url: of a manifest.json, or of the prefix above dated folders with manifests; then the newest manifest with a
            manifest.checksum is used.
        source_url: `s3://bucket/prefix`; entries outside it are skipped.
        open_at: makes the storage for a URL.
        directory: holds one file of entries at a time.
    """

    def __init__(self, url: str, *, source_url: str, open_at: Callable[[str], Storage], directory: Path) -> None:
        self._url = url.rstrip("/")
        self._source_url = source_url
        self._open_at = open_at
        self._directory = directory
        self._manifest: Manifest | None = None
        self._files_done = 0

    @property
    def as_of(self) -> datetime | None:
        """When the store started this inventory; None until the first page."""
        return self._manifest.began_at if self._manifest else None

    def list_pages(
        self, *, page_size: int = 1000, on_skipped: Callable[[str], None] = warn_skipped
    ) -> Iterator[list[StoredObject]]:
        """List the objects by pages, in no order. A second call starts with the first unfinished file.

        A page counts as done when the next one is requested. Memory does not grow with the number of objects; one file
        is on disk at a time. The next page is made while the caller works on the current one.

        Raises:
            SettingsError: `wrong_inventory`: it lists another bucket, or does not exist.
            PermanentError: `unsupported_inventory`, `inventory_incomplete`, `inventory_damaged`.
            TransientError: `inventory_damaged` when a file's checksum differs from the manifest's.
            NightreelError: as `Storage.read` and `Storage.fetch`.
        """
        manifest = self._manifest = self._manifest or self._read_manifest()
        for number in range(self._files_done, len(manifest.files)):
            yield from one_ahead(self._pages(manifest, manifest.files[number], page_size, on_skipped))
            self._files_done = number + 1

    # -- the manifest --------------------------------------------------------------------------------------------

    def _read_manifest(self) -> Manifest:
        url = self._url if self._url.endswith(f"/{_MANIFEST}") else self._newest()
        place = self._open_at(url.rpartition("/")[0])
        try:
            text = place.read(url, max_bytes=_LARGEST_MANIFEST)
        except PermanentError as error:
            if error.reason is not Reason.OBJECT_GONE:
                raise
            raise SettingsError(
                f"{url} does not exist: check NIGHTREEL_INVENTORY", reason=Reason.WRONG_INVENTORY
            ) from error
        self._check_manifest(place, url, text)
        manifest = self._parse(text, url)
        if not f"{self._source_url}/".startswith(f"s3://{manifest.source_bucket}/"):
            raise SettingsError(
                f"{url} lists bucket {manifest.source_bucket!r}, not {self._source_url}: unset NIGHTREEL_INVENTORY, or "
                "set it to an inventory of the source's bucket",
                reason=Reason.WRONG_INVENTORY,
            )
        logger.info("inventory started at %s, %d files: %s", manifest.began_at, len(manifest.files), url)
        return manifest

    def _newest(self) -> str:
        """The newest manifest below the prefix that has its checksum. The store writes the checksum last."""
        found: dict[str, set[str]] = {}
        for item in (item for page in self._open_at(self._url).list_pages() for item in page):
            name = item.uri.removeprefix(f"{self._url}/")
            if match := _DATED.fullmatch(name):
                found.setdefault(match[1], set()).add(match[2])
            if name > ":":
                break  # dates sort before data and hive, which may hold any number of files
        complete = [date for date, names in found.items() if len(names) == 2]
        if not complete:
            raise SettingsError(
                f"{self._url} has no folder such as 2026-01-31T01-00Z with {_MANIFEST} and {_CHECKSUM}: expected the "
                "prefix that ends in the inventory's name, or a manifest's URL; check NIGHTREEL_INVENTORY",
                reason=Reason.WRONG_INVENTORY,
            )
        return f"{self._url}/{max(complete)}/{_MANIFEST}"

    def _check_manifest(self, place: Storage, url: str, text: bytes) -> None:
        try:
            promised = place.read(f"{url.rpartition('/')[0]}/{_CHECKSUM}", max_bytes=1000).decode("ascii", "replace")
        except PermanentError as error:
            if error.reason is not Reason.OBJECT_GONE:
                raise
            logger.warning("%s has no %s beside it: used without verification", url, _CHECKSUM)
            return
        _compare(url, _md5(text), promised.strip())

    def _parse(self, text: bytes, url: str) -> Manifest:
        try:
            stated = _Stated.model_validate_json(text)
            began_at = datetime.fromtimestamp(stated.began_ms / 1000, UTC)
        except (ValueError, OverflowError, OSError) as error:
            said = str(error).splitlines()
            raise PermanentError(
                Reason.INVENTORY_DAMAGED, f"{url} is not a manifest of an inventory: {' '.join(said[1:3])[:200]}"
            ) from error
        # An ARN or a plain name.
        bucket = stated.destination.rpartition(":")[2] or url.split("/")[2]
        folder = url.rsplit("/", 2)[0]
        files = [
            InventoryFile(uri=f"s3://{bucket}/{file.key}", size_bytes=file.size_bytes, md5=file.md5)
            for file in stated.files
        ]
        for file in files:
            if not file.uri.startswith(f"{folder}/"):
                raise PermanentError(
                    Reason.INVENTORY_DAMAGED,
                    f"{url} names the file {shown(file.uri)}, which is not below {folder}: an inventory's files are in "
                    "the same place as its manifests; use the inventory where the store has written it",
                )
        return Manifest(
            uri=url,
            source_bucket=stated.source,
            began_at=began_at,
            files=tuple(files),
            files_at=self._open_at(f"s3://{bucket}"),
            read=entry_reader(stated.file_format, stated.file_schema, manifest=url),
        )

    # -- the files -----------------------------------------------------------------------------------------------

    def _pages(
        self, manifest: Manifest, file: InventoryFile, page_size: int, on_skipped: Callable[[str], None]
    ) -> Iterator[list[StoredObject]]:
        prefix, bucket = f"{self._source_url}/", f"s3://{manifest.source_bucket}/"
        page: list[StoredObject] = []
        with self._fetched(file, manifest) as path:
            for entry in manifest.read(path, file.uri, on_skipped):
                uri = bucket + entry.key
                if not uri.startswith(prefix) or uri.endswith("/"):
                    continue
                item = usable(uri, entry.etag, entry.size_bytes, entry.modified_at)
                if isinstance(item, str):
                    on_skipped(f"key {shown(entry.key)} in {file.uri}: {item}")
                    continue
                page.append(item)
                if len(page) == page_size:
                    yield page
                    page = []
            if page:
                yield page

    @contextmanager
    def _fetched(self, file: InventoryFile, manifest: Manifest) -> Iterator[Path]:
        """Fetch the file to disk and verify its checksum."""
        # A separate spool: waiting for room in the videos' spool could be a deadlock.
        with Spool(self._directory, limit_bytes=_ANY_SIZE) as spool, spool.admit(file.size_bytes) as directory:
            path = directory / "entries"
            try:
                manifest.files_at.fetch(file.uri, etag=None, destination=path, max_bytes=file.size_bytes)
            except PermanentError as error:
                if error.reason is Reason.LIMIT_BYTES:
                    raise TransientError(
                        Reason.INVENTORY_DAMAGED,
                        f"{file.uri} is larger than the {file.size_bytes:,} bytes that {manifest.uri} states: it is "
                        "being replaced, or damaged",
                    ) from error
                if error.reason is not Reason.OBJECT_GONE:
                    raise
                raise PermanentError(
                    Reason.INVENTORY_INCOMPLETE,
                    f"{manifest.uri} names {file.uri}, which does not exist (deleted?): use a newer inventory",
                ) from error
            with path.open("rb") as content:
                _compare(file.uri, hashlib.file_digest(content, _new_md5).hexdigest(), file.md5)
            yield path


def _compare(uri: str, md5: str, promised: str) -> None:
    if md5 != promised.lower():
        raise TransientError(
            Reason.INVENTORY_DAMAGED,
            f"{uri} has MD5 {md5}, expected {promised}: it is damaged or being replaced",
        )


def _new_md5(data: bytes = b"") -> hashlib._Hash:
    return hashlib.md5(data, usedforsecurity=False)


def _md5(data: bytes) -> str:
    return _new_md5(data).hexdigest()
