"""The interface of object storage, and the rules for every implementation.

Discovery lists through it, `encode` fetches through it, the feature cache publishes and reads through it. Disk and
network access is in `local.py` and `s3.py`.
"""

from __future__ import annotations

import logging
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from nightreel.domain import StoredObject
from nightreel.errors import PermanentError
from nightreel.reasons import Reason
from nightreel.units import human_bytes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An object that was copied to local disk, with the SHA-256 of its bytes in hex."""

    path: Path
    size_bytes: int
    content_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedObject:
    """The object under a published name. `created` is False if it existed before: it was not overwritten."""

    uri: str
    size_bytes: int
    created: bool


def warn_skipped(detail: str) -> None:
    """Log an entry that a listing skips. Listings do this by default."""
    _log.warning("skipped in the listing: %s", detail)


class Storage(ABC):
    """A place that holds objects under one prefix. Thread-safe.

    The constructor does not access the place. The first call reports what is wrong with it, as one of:
        PermanentError: `no_such_source`, `no_such_bucket`, `access_denied`, `unsupported_store`.
        TransientError: `storage_unreachable`.

    Args:
        url: the prefix, `file:///directory` or `s3://bucket/prefix`, without a slash at the end.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def list_pages(
        self,
        *,
        start_after: str | None = None,
        page_size: int = 1000,
        on_skipped: Callable[[str], None] = warn_skipped,
    ) -> Iterator[list[StoredObject]]:
        """List all objects below the prefix by pages, in the byte order of their uris.

        Memory does not grow with their number. The next page is fetched while the caller works on the current one.

        Args:
            start_after: last uri of a page; the listing continues after it, even if that object no longer exists.
            on_skipped: called with a sentence for each entry that could not be read, from another thread.

        Yields:
            1 to `page_size` objects with absolute uris.
        """
        return one_ahead(self._pages(start_after, page_size, on_skipped))

    @abstractmethod
    def _pages(
        self, start_after: str | None, page_size: int, on_skipped: Callable[[str], None]
    ) -> Iterator[list[StoredObject]]: ...

    @abstractmethod
    def fetch(self, uri: str, *, etag: str | None, destination: Path, max_bytes: int) -> Fetched:
        """Copy an object to the file `destination`, which appears complete or not at all.

        Args:
            etag: as listed; another version is refused. None accepts any version.
            destination: replaced if it exists; its directory must exist.
            max_bytes: the operator's limit `NIGHTREEL_MAX_BYTES`.

        Raises:
            PermanentError: `object_gone`, `object_denied`, `archived`, `limit_bytes`, or an error of the place (see
                the class). `object_denied` means that other objects can be read; otherwise it is `access_denied`.
            TransientError: `object_changed`, `object_corrupt`, `disk_full`, `storage_unreachable`.
        """

    @abstractmethod
    def publish(self, name: str, data: bytes | Path) -> PublishedObject:
        """Create the object `name` below the prefix, atomically and only if it does not exist.

        Args:
            name: relative, parts separated by `/`.
            data: the bytes, or a file that holds them.

        Raises:
            PermanentError: `bad_object_name`, or an error of the place.
            TransientError: `disk_full`, `storage_unreachable`.
        """

    @abstractmethod
    def replace(self, name: str, data: bytes) -> PublishedObject:
        """Write the object `name` below the prefix, atomically, whatever is under that name now.

        Raises:
            NightreelError: as `publish`.
        """

    @abstractmethod
    def read(self, uri: str, *, max_bytes: int | None = None) -> bytes:
        """Read all bytes of an object.

        Raises:
            PermanentError: `object_gone`; `limit_bytes` when it is larger than `max_bytes`.
            TransientError: `storage_unreachable`.
        """

    def read_start(self, uri: str, *, most_bytes: int) -> bytes:
        """Read at most `most_bytes` bytes from the start of an object. Costs one small request.

        Raises:
            NightreelError: as `fetch`.
        """
        return self.read_part(uri, etag=None, start=0, most_bytes=most_bytes)

    @abstractmethod
    def read_part(self, uri: str, *, etag: str | None, start: int, most_bytes: int) -> bytes:
        """Read at most `most_bytes` bytes of an object, from the byte `start` on. Costs one request.

        Args:
            etag: as listed; another version is refused. None accepts any version.

        Raises:
            NightreelError: as `fetch`.
        """

    @abstractmethod
    def exists(self, uri: str) -> bool:
        """Whether the object exists. Costs one small request."""

    def find(self, uri: str) -> StoredObject | None:
        """One object as a listing has it; None if it does not exist."""
        before = None if uri[:-1] == f"{self.url}/" else uri[:-1]  # names sort by their bytes: little lies between
        for page in self.list_pages(start_after=before, page_size=10):
            for item in page:
                if item.uri >= uri:
                    return item if item.uri == uri else None
        return None

    @abstractmethod
    def delete(self, uri: str) -> bool:
        """Delete an object. Returns whether it existed."""

    @abstractmethod
    def check(self) -> None:
        """Raise an error if something is wrong with the place. Costs one small request."""

    def check_writable(self) -> None:
        """Publish a small object, check that a second publish is refused, read the object back and delete it.

        Raises:
            PermanentError: `no_create_only` when the place overwrites an object despite the create-only request.
        """
        name = f"nightreel-probe-{uuid.uuid4().hex}"
        probe = self.publish(name, b"probe")
        try:
            again = self.publish(name, b"probe")
            if again.created or self.read(probe.uri) != b"probe":
                raise PermanentError(
                    Reason.NO_CREATE_ONLY,
                    f"{self.url} overwrites objects that it was asked to create only if missing (If-None-Match: *): "
                    "two workers could damage each other's features; use another store for the cache",
                )
        finally:
            self.delete(probe.uri)


def checked_name(name: str) -> str:
    """Return `name` if it stays below the prefix.

    Raises:
        PermanentError: `bad_object_name`.
    """
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise PermanentError(
            Reason.BAD_OBJECT_NAME, f"{name!r}: expected a relative path without empty parts, '.', '..' and NUL"
        )
    return name


def outside(uri: str, url: str) -> PermanentError:
    """The error for a uri that is not below the prefix `url`."""
    return PermanentError(Reason.OUTSIDE_PREFIX, f"{uri!r} is not below {url}: open the storage that holds it")


def too_large(uri: str, size_bytes: int, max_bytes: int) -> PermanentError:
    return PermanentError(
        Reason.LIMIT_BYTES,
        f"{uri} has {human_bytes(size_bytes)} ({size_bytes:,} bytes), but NIGHTREEL_MAX_BYTES={max_bytes} allows "
        f"{human_bytes(max_bytes)}: raise it or remove the file",
    )


def one_ahead(pages: Iterator[list[StoredObject]]) -> Iterator[list[StoredObject]]:
    """Yield the same pages. A thread makes the next page while the caller works on the current one."""
    with ThreadPoolExecutor(1, "nightreel-listing") as executor:
        following = executor.submit(next, pages, None)
        while (page := following.result()) is not None:
            following = executor.submit(next, pages, None)
            yield page
