"""Discover: store pages of the listing in Postgres, and claim the next chunk of work."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection

from nightreel.cache.features import FeatureCache
from nightreel.database.claims import ClaimsInOrder, Remaining, Selection, release_claims, remaining
from nightreel.database.connection import Database
from nightreel.database.discovery import ListingFilter, PageCounts, discover_page
from nightreel.database.recipes import Recipe
from nightreel.database.runs import LifeSigns, recover_dead_runs
from nightreel.domain import Claim
from nightreel.domain.deadlines import Deadline
from nightreel.errors import NightreelError
from nightreel.reasons import Reason
from nightreel.stages.helper import HelperRun
from nightreel.stages.listing import ListingCursor
from nightreel.stages.model_session import ModelSession
from nightreel.stages.recorder import RunRecorder
from nightreel.stages.sniff import Sniffing
from nightreel.stages.tombstones import ReadTombstoneKey, no_tombstone_key
from nightreel.stages.videos import VideoFiles

_PAGES = 20  # at most in one call: a few seconds of work
_LOOK_EVERY_S = 1.0  # for a heartbeat of another run


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """Counts of some pages, and whether the listing is at its end."""

    counts: PageCounts
    exhausted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The claims of a chunk. `stop`: why the run should claim no more."""

    claims: list[Claim]
    stop: str | None = None


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """The discover stage and what it uses.

    Args:
        model, cache: checked before the first claim.
        why_stop: called before each chunk is claimed; returns why this run should claim no more, or None.
        helper: set in a run that helps another.
        read_tombstone_key: what recognises erased objects.
        deadline: the write stage notes the end of chunks there.
    """

    database: Database
    recipe: Recipe
    run_id: int
    selection: Selection
    listing: ListingCursor
    admit: ListingFilter
    sniffing: Sniffing
    claims: ClaimsInOrder
    recorder: RunRecorder
    chunk_segments: int
    max_crashes: int
    why_stop: Callable[[], str | None]
    model: ModelSession
    cache: FeatureCache
    files: VideoFiles
    helper: HelperRun | None = None
    read_tombstone_key: ReadTombstoneKey = no_tombstone_key
    life_signs: LifeSigns = field(default_factory=LifeSigns)
    deadline: Deadline = field(default_factory=Deadline)

    def discover_pages(self) -> Discovered:
        """Continue the listing until it finds a chunk of new work, or for some pages.

        After an error, the next call continues after the last page that was written.
        """
        up_to_uri = self.selection.up_to_uri
        counts = PageCounts()
        for _ in range(_PAGES):
            try:
                with self.recorder.stage("list"):
                    page = self.listing.next_page()
                counts += PageCounts(skipped=self.listing.take_skipped())
                if page is None:
                    return Discovered(counts=counts, exhausted=True)
                within = [item for item in page if up_to_uri is None or item.uri <= up_to_uri]
                with self.recorder.stage("list"):
                    videos = self.sniffing.without_text(within)
                texts = len(within) - len(videos)
                with self.recorder.stage("database"), self.database.begin() as connection:
                    counts += PageCounts(listed=texts, filtered=texts) + discover_page(
                        connection,
                        videos,
                        admit=self.admit,
                        recipe_id=self.recipe.id,
                        run_id=self.run_id,
                        as_of=self.listing.as_of,
                        tombstone_key=self.read_tombstone_key(),
                    )
            except NightreelError:
                self.listing.restart()
                raise
            self.listing.passed(page)
            if len(within) < len(page):
                return Discovered(counts=counts, exhausted=True)
            if counts.added >= self.chunk_segments:
                break
        return Discovered(counts=counts, exhausted=False)

    def claim_chunk(self, *, max_videos: int | None, suspects: bool = True) -> Claimed:
        """Claim the videos of the next chunk, unless the run should end.

        Args:
            suspects: claim a suspect, alone, if nothing else is free. False: the run holds other claims, or may find
                new videos, which come first, because a suspect may kill the run.

        Raises:
            NightreelError: as `ModelSession.check`, `FeatureCache.check_writable` and `VideoFiles.check_sandbox`,
                before the first claim: no video could be analysed.
        """
        if stop := self.why_stop():
            return Claimed(claims=[], stop=stop)
        if not self.model.is_checked:
            if not self._work_is_due():
                return Claimed(claims=[])
            with self.recorder.stage("cache"):
                self.cache.check_writable()
            self.files.check_sandbox()
            self.model.check()
        try:
            claims = self._claim(max_videos, suspects=suspects)
        except NightreelError as error:
            if error.reason is not Reason.RUN_CLOSED:
                raise
            return Claimed(claims=[], stop=error.detail)
        self.deadline.claimed([claim.analysis_id for claim in claims], datetime.now(UTC))
        return Claimed(claims=claims)

    def _claim(self, max_videos: int | None, *, suspects: bool) -> list[Claim]:
        """Claim the videos of the next chunk. The model of a helper is loaded first.

        The night waits for what its helpers have claimed. A helper that waits for memory, perhaps for the night's own,
        must have claimed nothing.
        """
        if self.helper and not self.model.is_loaded:
            self.model.load()
        with self.recorder.stage("database"), self.database.begin() as connection:
            claims = self.claims.next(connection, max_videos)
        return claims or (self._claim_suspect() if suspects else [])

    def _claim_suspect(self) -> list[Claim]:
        """Claim a suspect. The model is loaded first: a run that dies of its model must hold no video."""
        if not self.model.is_loaded:
            with self.recorder.stage("database"), self.database.begin() as connection:
                if not self.claims.suspect_is_free(connection):
                    return []
            self.model.load()
        with self.recorder.stage("database"), self.database.begin() as connection:
            return self.claims.next_suspect(connection)

    def _work_is_due(self) -> bool:
        """Whether a video can be claimed now. A run without one checks neither model nor cache, which takes seconds."""
        with self.recorder.stage("database"):
            rest = self.count_remaining()
        return rest.next_in_s is not None and rest.next_in_s <= 0

    def count_remaining(self) -> Remaining:
        """The unfinished work as it is now."""
        with self.database.begin() as connection:
            return self._remaining(connection)

    def count_left(self) -> int:
        """Give back what the run still holds, and count the videos that the next run will find."""
        with self.database.begin() as connection:
            release_claims(connection, run_id=self.run_id)
            return self._remaining(connection).pending

    def remaining_work(self) -> Remaining:
        """The unfinished work, after taking back the claims of runs that have died.

        If nothing else is left, this waits until the runs that hold claims have sent a heartbeat, or have died.
        """
        while True:
            recover_dead_runs(self.database, max_crashes=self.max_crashes)
            with self.database.begin() as connection:
                rest = self._remaining(connection)
                undecided_s = self.life_signs.undecided_s(connection, rest.holders)
            if undecided_s is None or (rest.next_in_s is not None and rest.next_in_s <= undecided_s):
                return rest
            time.sleep(max(0.05, min(_LOOK_EVERY_S, undecided_s)))

    def _remaining(self, connection: Connection) -> Remaining:
        return remaining(connection, recipe=self.recipe, run_id=self.run_id, selection=self.selection)
