"""The position in the listing of a run's source: the next page, and where to continue after an error."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from nightreel.database.claims import Selection
from nightreel.domain import StoredObject
from nightreel.settings import Settings
from nightreel.storage import Storage, open_inventory

if TYPE_CHECKING:
    from nightreel.storage.inventory import Inventory


class ListingCursor:
    """The pages of a source that are not in Postgres yet.

    An inventory replaces the listing if one is set. A range of keys is always listed: an inventory is not ordered, and
    each range would read all of it.

    Args:
        settings: `inventory` and its storage settings, and `page_size`.
    """

    def __init__(self, source: Storage, selection: Selection, settings: Settings) -> None:
        self._source = source
        self._settings = settings
        self._uses_inventory = bool(settings.inventory) and not (selection.after_uri or selection.up_to_uri)
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
        return self._source.list_pages(start_after=self._after_uri, page_size=page_size)
