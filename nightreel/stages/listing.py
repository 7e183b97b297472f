"""The position in the listing of a run's source: the next page, and where to continue after an error."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from nightreel.database.claims import Selection
from nightreel.domain import StoredObject
from nightreel.settings import Settings
from nightreel.storage import Storage, open_inventory, open_storage

if TYPE_CHECKING:
    from nightreel.storage.inventory import Inventory

_MOST_LOGGED = 100

logger = logging.getLogger(__name__)


class SkippedEntries:
    """Logs and counts the entries that a listing skips. Thread-safe: a thread of its own makes the next page."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = self._taken = 0

    def note(self, detail: str) -> None:
        """Count an entry, and log why it is skipped: the first ones."""
        with self._lock:
            self._count += 1
            count = self._count
        if count <= _MOST_LOGGED:
            logger.warning("skipped in the listing: %s", detail)
        if count == _MOST_LOGGED:
            logger.warning("from here on, entries that the listing skips are counted and not logged")

    def take(self) -> int:
        """The number of entries since the last call."""
        with self._lock:
            new = self._count - self._taken
            self._taken = self._count
            return new

    def __bool__(self) -> bool:
        return self._count > 0


class ListingCursor:
    """The pages of a source that are not in Postgres yet.

    An inventory replaces the listing if one is set. A range of keys is always listed: an inventory is not ordered, and
    each range would read all of it. If a person named objects and prefixes, only these are listed.

    Args:
        settings: `inventory` and its storage settings, and `page_size`.
    """

    def __init__(self, source: Storage, selection: Selection, settings: Settings) -> None:
        self._source = source
        self._settings = settings
        self._uses_inventory = bool(settings.inventory) and not (
            selection.after_uri or selection.up_to_uri or selection.only
        )
        self._only = selection.only
        self._skipped = SkippedEntries()
        self._inventory: Inventory | None = None
        self._pages: Iterator[list[StoredObject]] | None = None
        self._after_uri = selection.after_uri or None

    @property
    def as_of(self) -> datetime | None:
        """When the inventory was made; None for a listing, which is made now."""
        return self._inventory.as_of if self._inventory else None

    def take_skipped(self) -> int:
        """The number of entries that were skipped since the last call."""
        return self._skipped.take()

    def next_page(self) -> list[StoredObject] | None:
        """The next page; None at the end.

        Raises:
            NightreelError: as `Storage.list_pages` and `Inventory.list_pages`. After `restart`, the next call continues
                after the last page that was `passed`.
        """
        if self._pages is None:
            self._pages = self._open()
        return next(self._pages, None)

    def passed(self, page: list[StoredObject]) -> None:
        """Mark a page as stored in Postgres: after an error the listing continues after it."""
        self._after_uri = page[-1].uri

    def restart(self) -> None:
        """Make the next call list again, after the last page that was `passed`."""
        self._pages = None

    def _open(self) -> Iterator[list[StoredObject]]:
        page_size = self._settings.page_size
        if self._uses_inventory:
            self._inventory = self._inventory or open_inventory(self._settings, source=self._source)
            return self._inventory.list_pages(page_size=page_size, on_skipped=self._skipped.note)
        if self._only is not None:
            return self._list_named(self._only, page_size)
        return self._source.list_pages(start_after=self._after_uri, page_size=page_size, on_skipped=self._skipped.note)

    def _list_named(self, only: Sequence[str], page_size: int) -> Iterator[list[StoredObject]]:
        """Pages of the named objects and prefixes, in the byte order of their uris."""
        page: list[StoredObject] = []
        for uri in only:
            is_prefix = uri.endswith("/")
            if page and (is_prefix or len(page) == page_size):
                yield page
                page = []
            after = self._after_uri or ""
            if is_prefix and after.startswith(uri):
                place = open_storage(uri.rstrip("/"), self._settings)
                yield from place.list_pages(start_after=after, page_size=page_size, on_skipped=self._skipped.note)
            elif uri <= after:
                continue
            elif is_prefix:
                place = open_storage(uri.rstrip("/"), self._settings)
                yield from place.list_pages(page_size=page_size, on_skipped=self._skipped.note)
            elif item := self._source.find(uri):
                page.append(item)
            else:
                self._skipped.note(f"{uri[:200]} no longer exists, or cannot be listed")
        if page:
            yield page
