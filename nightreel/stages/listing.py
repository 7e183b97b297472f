"""The position in the listing of a run's source: the next page, and where to continue after an error."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from nightreel.database.claims import Selection
from nightreel.domain import StoredObject
from nightreel.settings import Settings
from nightreel.storage import Storage, open_inventory, open_storage

if TYPE_CHECKING:
    from nightreel.storage.inventory import Inventory

logger = logging.getLogger(__name__)


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
        self._inventory: Inventory | None = None
        self._pages: Iterator[list[StoredObject]] | None = None
        self._after_uri = selection.after_uri or None

    @property
    def as_of(self) -> datetime | None:
        """When the inventory was made; None for a listing, which is made now."""
        return self._inventory.as_of if self._inventory else None

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
            return self._inventory.list_pages(page_size=page_size)
        if self._only is not None:
            return self._list_named(self._only, page_size)
        return self._source.list_pages(start_after=self._after_uri, page_size=page_size)

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
                yield from place.list_pages(start_after=after, page_size=page_size)
            elif uri <= after:
                continue
            elif is_prefix:
                yield from open_storage(uri.rstrip("/"), self._settings).list_pages(page_size=page_size)
            elif item := self._source.find(uri):
                page.append(item)
            else:
                logger.warning("skipped: %s no longer exists", uri)
        if page:
            yield page
