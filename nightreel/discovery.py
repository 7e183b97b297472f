"""Discovery: a page of the object listing against Postgres. What is new, changed, or known but not yet wanted.

Knows nothing of how objects are listed or analysed. A page on which nothing is new costs one indexed read, whatever
the number of videos known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from nightreel.database.statements import statement
from nightreel.domain import StoredObject


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCounts:
    """What one or several pages of the listing held.

    Args:
        listed: objects on the page; filtered: those left out by suffix or time.
        new, changed: versions never seen before; wanted: known videos, new under this recipe.
        known: videos whose analysis under this recipe exists, whatever came of it.
        back: of the known and wanted, those that were taken for gone. gone: videos that a sweep found no more.
    """

    listed: int = 0
    filtered: int = 0
    new: int = 0
    changed: int = 0
    wanted: int = 0
    known: int = 0
    back: int = 0
    gone: int = 0

    def __add__(self, other: PageCounts) -> PageCounts:
        return PageCounts(**{name: getattr(self, name) + getattr(other, name) for name in self.__slots__})

    @property
    def added(self) -> int:
        return self.new + self.changed + self.wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingFilter:
    """Which objects of a listing are videos to look at."""

    suffixes: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def admits(self, item: StoredObject) -> bool:
        """
        >>> from datetime import UTC
        >>> at = datetime(2026, 1, 2, tzinfo=UTC)
        >>> item = StoredObject(uri="s3://b/A.MP4", etag="1", size_bytes=1, modified_at=at)
        >>> ListingFilter(suffixes=(".mp4",), since=at).admits(item), ListingFilter(until=at).admits(item)
        (True, False)
        """
        if self.suffixes and not item.uri.lower().endswith(self.suffixes):
            return False
        if self.since and item.modified_at < self.since:
            return False
        return not (self.until and item.modified_at >= self.until)


def discover_page(
    connection: Connection, page: Sequence[StoredObject], *, admit: ListingFilter, recipe_id: int, run_id: int
) -> PageCounts:
    """Add the videos of a page that are not known, and the work that they are."""
    items = [item for item in page if admit.admits(item)]
    needed = (
        connection.execute(statement("page_needs_work"), {"recipe_id": recipe_id, **_columns(items)}).all()
        if items
        else []
    )
    if needed:
        added = _columns(needed)
        keys = {name: added[name] for name in ("uris", "etags")}
        connection.execute(statement("mark_replaced"), keys)
        connection.execute(statement("add_videos"), {"run_id": run_id, **added})
        connection.execute(statement("add_analyses"), {"recipe_id": recipe_id, **keys})
    states = [row.state for row in needed]
    return PageCounts(
        listed=len(page),
        filtered=len(page) - len(items),
        new=states.count("new"),
        changed=states.count("changed"),
        wanted=states.count("wanted"),
        known=len(items) - len(needed) + states.count("back"),
        back=sum(row.back for row in needed),
    )


def _columns(items: Iterable[StoredObject | Row[Any]]) -> dict[str, list]:
    rows = sorted(items, key=lambda item: item.uri)
    return {
        "uris": [row.uri for row in rows],
        "etags": [row.etag for row in rows],
        "sizes": [row.size_bytes for row in rows],
        "modified": [row.modified_at for row in rows],
    }
