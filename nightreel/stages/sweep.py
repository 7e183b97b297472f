"""Sweep: a full listing of the source, to find what was overwritten and what is gone.

A listing comes in the byte order of uris, so that each page tells all that lies between the last uri of the page before
and its own last one: a video in there that it does not hold has no object any more. The listing is always the real one,
never an inventory, which is hours old and in no order.
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
from nightreel.stages.recorder import RunRecorder
from nightreel.storage import Storage

_PAGES = 50  # listed at most before the caller hears of it
_BATCH = 1000  # videos marked in one transaction

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What some pages held and lacked, and whether they were the last."""

    counts: PageCounts
    exhausted: bool


class Sweep:
    """A sweep of one source, which goes on with each call. One thread at a time."""

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
    ) -> None:
        self._source, self._database, self._admit = source, database, admit
        self._recipe_id, self._run_id = recipe_id, run_id
        self._page_size, self._recorder = page_size, recorder
        self._prefix = f"{source.url}/"
        self._after = self._prefix  # everything up to here is done
        self._began_at: datetime | None = None
        self._listing: Iterator[list[StoredObject]] | None = None
        self._skipped = 0

    def go_on(self, *, may_be_empty: bool = False) -> Swept:
        """List on for some pages. After an error, the next call lists on behind the last page that was written.

        What was found before an error is returned; if the error lasts, the next call raises it.

        Args:
            may_be_empty: a source in which nothing is found has lost all its videos; otherwise it is an error.

        Raises:
            PermanentError: `source_empty`: nothing is there where videos are known. `unordered_listing`.
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
                logger.warning("the listing broke off and is taken up again behind %s: %s", self._after, error)
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
                    on_skipped=self._note_skipped,
                )
            page = next(self._listing, [])
        for before, after in itertools.pairwise([self._after, *(item.uri for item in page)]):
            if before >= after:
                raise PermanentError(
                    Reason.UNORDERED_LISTING,
                    f"{self._source.url} lists {after!r} behind {before!r}, and only the byte order of keys tells what "
                    "is gone: this store cannot be swept. Nightly runs find what is new in it all the same",
                )
        return page

    def _sweep(self, page: list[StoredObject], *, may_be_empty: bool) -> PageCounts:
        counts = PageCounts()
        if page:
            with self._recorder.stage("database"), self._database.begin() as connection:
                for look_at in (discover_page, correct_versions):
                    counts += look_at(
                        connection, page, admit=self._admit, recipe_id=self._recipe_id, run_id=self._run_id
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
        """Whatever was listed so far: a disk may have gone while it was read, which looks like its end."""
        if next(self._source.list_pages(page_size=1), None):
            return
        with self._recorder.stage("database"), self._database.begin() as connection:
            known = has_videos(connection, self._prefix)
        if known and not may_be_empty:
            raise PermanentError(
                Reason.SOURCE_EMPTY,
                f"{self._source.url} holds no object at all, and videos are known below it: is the disk mounted, "
                "is the prefix right? Where all was deleted indeed, sweep once with may_be_empty",
            )

    def _mark_gone(self, stretch: Stretch) -> int:
        """Mark what a stretch lacks, by batches, however much that is."""
        gone = 0
        while True:
            with self._recorder.stage("database"), self._database.begin() as connection:
                uris = missing_uris(connection, stretch, most=_BATCH)
            if not uris:
                return gone
            # A listing that could not look everywhere is no proof: then each is asked for.
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
            return True  # nobody can look: no proof that it is gone

    def _note_skipped(self, detail: str) -> None:
        self._skipped += 1
        logger.warning("skipped in the listing: %s", detail)
