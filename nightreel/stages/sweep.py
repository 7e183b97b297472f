"""Sweep: list a source in full, to find overwritten and deleted objects.

A listing is in the byte order of URIs, so each page is complete between the last URI of the previous page and its own
last URI. A known video in that range that the page does not list has lost its object. A sweep never uses an inventory,
which is hours old and not ordered.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import func, select

from nightreel.database.connection import Database
from nightreel.database.discovery import (
    ListingFilter,
    PageCounts,
    Stretch,
    correct_versions,
    discover_page,
    has_videos,
    mark_gone,
    missing_uris,
)
from nightreel.domain import StoredObject
from nightreel.errors import NightreelError, PermanentError
from nightreel.reasons import Reason
from nightreel.stages.listing import SkippedEntries
from nightreel.stages.recorder import RunRecorder
from nightreel.stages.sniff import Sniffing
from nightreel.stages.tombstones import ReadTombstoneKey, no_tombstone_key
from nightreel.storage import Storage

_PAGES = 50  # at most in one call
_BATCH = 1000  # videos marked in one transaction

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """Counts of some pages, and whether the listing is at its end."""

    counts: PageCounts
    exhausted: bool


class Sweep:
    """A sweep of one source, which each call continues. One thread at a time."""

    def __init__(
        self,
        source: Storage,
        *,
        database: Database,
        admit: ListingFilter,
        recipe_id: int,
        run_id: int,
        page_size: int,
        recorder: RunRecorder,
        read_tombstone_key: ReadTombstoneKey = no_tombstone_key,
    ) -> None:
        self._source, self._database, self._admit = source, database, admit
        self._recipe_id, self._run_id = recipe_id, run_id
        self._page_size, self._recorder = page_size, recorder
        self._read_tombstone_key = read_tombstone_key
        self._sniffing = Sniffing(source=source, database=database, admit=admit)
        self._prefix = f"{source.url}/"
        self._after = self._prefix  # everything up to here is done
        self._began_at: datetime | None = None
        self._listing: Iterator[list[StoredObject]] | None = None
        self._skipped = SkippedEntries()

    def go_on(self, *, may_be_empty: bool = False) -> Swept:
        """List some more pages. After an error, the next call continues after the last page that was written.

        An error after the first page ends the call early; if it persists, the next call raises it.

        Args:
            may_be_empty: an empty source has lost all its videos; if False, an empty source is an error.

        Raises:
            PermanentError: `source_empty`: videos are known, but the source is empty. `unordered_listing`.
            NightreelError: as `Storage.list_pages`.
        """
        counts = PageCounts()
        for _ in range(_PAGES):
            try:
                page = self._next_page()
                counts += self._sweep(page, may_be_empty=may_be_empty)
            except NightreelError as error:
                self._listing = None
                if counts == PageCounts():
                    raise
                logger.warning("the listing failed and continues after %s: %s", self._after, error)
                break
            if not page:
                return Swept(counts=counts, exhausted=True)
        return Swept(counts=counts, exhausted=False)

    def _next_page(self) -> list[StoredObject]:
        """The next page, in order; an empty one at the end."""
        if self._began_at is None:
            with self._recorder.stage("database"), self._database.begin() as connection:
                self._began_at = connection.execute(select(func.now())).scalar_one()
        with self._recorder.stage("list"):
            if self._listing is None:
                begun = self._after != self._prefix
                self._listing = self._source.list_pages(
                    start_after=self._after if begun else None,
                    page_size=self._page_size,
                    on_skipped=self._skipped.note,
                )
            page = next(self._listing, [])
        for before, after in itertools.pairwise([self._after, *(item.uri for item in page)]):
            if before >= after:
                raise PermanentError(
                    Reason.UNORDERED_LISTING,
                    f"{self._source.url} lists {after!r} after {before!r}; expected the byte order of keys, which a "
                    "sweep needs to find deleted objects: do not sweep this store. Nights still find its new objects",
                )
        return page

    def _sweep(self, page: list[StoredObject], *, may_be_empty: bool) -> PageCounts:
        counts = PageCounts(skipped=self._skipped.take())
        if page:
            with self._recorder.stage("list"):
                videos = self._sniffing.without_text(page)
            texts = len(page) - len(videos)
            counts += PageCounts(listed=texts, filtered=texts)
            with self._recorder.stage("database"), self._database.begin() as connection:
                for look_at in (discover_page, correct_versions):
                    counts += look_at(
                        connection,
                        videos,
                        admit=self._admit,
                        recipe_id=self._recipe_id,
                        run_id=self._run_id,
                        tombstone_key=self._read_tombstone_key(),
                    )
        else:
            self._refuse_if_emptied(may_be_empty)
        assert self._began_at is not None, "a page was listed"
        stretch = Stretch(
            uri_prefix=self._prefix,
            after_uri=self._after,
            up_to_uri=page[-1].uri if page else f"{self._prefix[:-1]}0",  # what follows the slash
            listed=[item.uri for item in page],
            began_at=self._began_at,
        )
        counts += PageCounts(gone=self._mark_gone(stretch))
        if page:
            self._after = page[-1].uri
        return counts

    def _refuse_if_emptied(self, may_be_empty: bool) -> None:
        """Refuse an empty source, even after pages: a disk that is unmounted during the listing looks like its end."""
        if next(self._source.list_pages(page_size=1), None):
            return
        with self._recorder.stage("database"), self._database.begin() as connection:
            known = has_videos(connection, self._prefix)
        if known and not may_be_empty:
            raise PermanentError(
                Reason.SOURCE_EMPTY,
                f"{self._source.url} has no objects, but videos are known below it: check that the disk is mounted and "
                "the prefix is right; if all objects were deleted on purpose, sweep once with may_be_empty",
            )

    def _mark_gone(self, stretch: Stretch) -> int:
        """Mark the videos that are missing in a stretch, in batches."""
        gone = 0
        while True:
            with self._recorder.stage("database"), self._database.begin() as connection:
                uris = missing_uris(connection, stretch, most=_BATCH)
            if not uris:
                return gone
            # A listing that skipped something proves nothing: look up each object.
            lost = [uri for uri in uris if not self._may_be_there(uri)] if self._skipped else uris
            with self._recorder.stage("database"), self._database.begin() as connection:
                gone += mark_gone(connection, lost, began_at=stretch.began_at)
            if len(uris) < _BATCH:
                return gone
            stretch = replace(stretch, after_uri=uris[-1])

    def _may_be_there(self, uri: str) -> bool:
        try:
            return self._source.exists(uri)
        except NightreelError:
            return True  # a failed lookup does not prove that it is gone
