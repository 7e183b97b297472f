"""Eviction: the feature cache kept to a size. Least recently used features go first, never what work needs.

The index decides first and files go after it, a batch at a time:

    1. one statement chooses and takes the files' places out of the index (`uri` null), committed;
    2. a second transaction locks these rows as far as they still point nowhere, deletes their files, counts
       `evictions` up, and commits.

So it agrees after a crash at any point. Before the first commit nothing has happened. After it the rows say "gone",
which is true for everyone who looks: they compute again. What remains are files without a row, a batch of them at
most, and `nightreel cache check` finds those. The other order would leave rows that promise files that are not there.

And so nobody at work is harmed. A run that looked its features up before step 1 has a claim or a fresh `last_used_at`
that the statement sees; one that looks after it decodes again. When that one publishes before step 2 it is given the
file that is still there, but either it records it first, and step 2 leaves a row that points somewhere alone, or step
2 is first, and the count tells it to publish again.

Files that cannot be deleted get their place back: a bucket that refuses deletion must not leak its whole content.

Thumbnails are neither counted nor evicted: a feature is made again when a question needs it, a picture of a video
that is done never would be. They take some KiB where features take some hundreds.

Stages and commands call it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from nightreel.cache.features import FeatureCache
from nightreel.database.connection import Database
from nightreel.database.eviction import (
    Cursor,
    cache_usage,
    evict_batch,
    lock_unindexed,
    note_deleted,
    restore_files,
    sole_evictor,
)
from nightreel.errors import NightreelError, TransientError
from nightreel.reasons import OF_DATABASE, Reason

_BATCH = 200  # rows looked at by one statement, and files that a crash can leave behind
_DELETIONS_AT_ONCE = 16  # a store takes some ten milliseconds for each
_SHARE = 100  # of the limit is published between two looks at the whole

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """What an eviction did, or would do.

    Args:
        features, size_bytes: evicted.
        held_bytes: what the cache holds afterwards.
        limit_bytes: what it was to hold at most.
        needed: features passed over because pending or running work needs them.
    """

    features: int = 0
    size_bytes: int = 0
    held_bytes: int = 0
    limit_bytes: int = 0
    needed: int = 0

    def __str__(self) -> str:
        return (
            f"{self.features:,} features of {self.size_bytes / 2**30:.3g} GiB evicted; the cache holds "
            f"{self.held_bytes / 2**30:.3g} GiB, at most {self.limit_bytes / 2**30:.3g} were asked for"
        )

    @property
    def reached(self) -> bool:
        """Whether the cache is as small as it was to become."""
        return self.held_bytes <= self.limit_bytes


def evict(
    database: Database,
    cache: FeatureCache,
    *,
    limit_bytes: int,
    dry_run: bool = False,
    on_progress: Callable[[Eviction], None] = lambda _: None,
) -> Eviction:
    """Evict until the cache holds at most `limit_bytes`, or nothing is left that may go.

    Args:
        dry_run: change nothing; what is returned is what would happen.
        on_progress: called after each batch with what was done so far.

    Raises:
        TransientError: `eviction_elsewhere`: another process is evicting, and one is enough.
        NightreelError: of database and storage. What was evicted so far remains so.
    """
    prefix = f"{cache.url}/"
    with sole_evictor(database) as won:
        if not won:
            raise TransientError(Reason.EVICTION_ELSEWHERE, "another process is evicting right now: one is enough")
        with database.begin() as connection:
            usage = cache_usage(connection, prefix)
        done = Eviction(held_bytes=usage.size_bytes, limit_bytes=limit_bytes)
        cursor: Cursor | None = Cursor()
        while cursor is not None and not done.reached:
            with database.begin() as connection:
                batch = evict_batch(
                    connection,
                    uri_prefix=prefix,
                    after=cursor,
                    excess_bytes=done.held_bytes - limit_bytes,
                    batch=_BATCH,
                    dry_run=dry_run,
                )
            if not dry_run:
                delete_unindexed(database, cache, batch.uris, restore_failed=True)
            cursor = batch.end
            done = Eviction(
                features=done.features + len(batch.uris),
                size_bytes=done.size_bytes + batch.size_bytes,
                held_bytes=done.held_bytes - batch.size_bytes,
                limit_bytes=limit_bytes,
                needed=done.needed + batch.needed,
            )
            on_progress(done)
    return done


def delete_unindexed(
    database: Database, cache: FeatureCache, uris: Mapping[str, str], *, restore_failed: bool = False
) -> set[str]:
    """Delete files that their rows do not point to, each under the lock of its row.

    Args:
        uris: by key; what was indexed again in the meantime, or is being, is left alone.
        restore_failed: let rows point again to the files that could not be deleted.

    Returns:
        The keys whose files are gone.

    Raises:
        NightreelError: the first of what went wrong with the storage, after all were tried.
    """
    if not uris:
        return set()
    with database.begin() as connection:
        locked = lock_unindexed(connection, uris)
        problems = dict(zip(locked, _delete_all(cache, locked.values()), strict=True))
        deleted = {key for key, problem in problems.items() if problem is None}
        note_deleted(connection, deleted)
        if restore_failed:
            restore_files(connection, {key: locked[key] for key in locked.keys() - deleted})
    for problem in problems.values():
        if problem is not None:
            raise problem
    return deleted


def _delete_all(cache: FeatureCache, uris: Iterable[str]) -> list[NightreelError | None]:
    def delete(uri: str) -> NightreelError | None:
        try:
            cache.delete(uri)
        except NightreelError as error:
            return error
        return None

    with ThreadPoolExecutor(_DELETIONS_AT_ONCE, "evict") as threads:
        return list(threads.map(delete, uris))


class CacheLimit:
    """Keeps the cache to its limit while a run fills it.

    The whole is added up when the run begins, and again whenever it has published a hundredth of the limit. Adding up
    reads as many rows as the cache has, and a hundredth of these were published since: the cost of a published
    feature stays the same, however large the cache. Several runs together exceed the limit by a hundredth each.

    Args:
        limit_bytes: size that the cache may have; 0: no limit.
    """

    def __init__(self, database: Database, cache: FeatureCache, *, limit_bytes: int) -> None:
        self._database, self._cache = database, cache
        self._limit_bytes = limit_bytes
        self._unseen_bytes = limit_bytes

    @property
    def is_set(self) -> bool:
        return self._limit_bytes > 0

    def published(self, size_bytes: int) -> None:
        """So much was added by this run."""
        self._unseen_bytes += size_bytes

    def make_room(self, *, now: bool = False) -> Eviction:
        """Evict if it is time to look, a hundredth below the limit, which then may be published before the next look.

        A cache that cannot be made smaller is no reason to end a night: it is logged, and the disk will say the rest.

        Args:
            now: add up the whole cache, whether or not it is time to.
        """
        share = self._limit_bytes // _SHARE
        if self._unseen_bytes < share and not now:
            return Eviction()
        self._unseen_bytes = 0
        try:
            done = evict(self._database, self._cache, limit_bytes=self._limit_bytes - share)
        except NightreelError as error:
            if error.reason in OF_DATABASE:
                raise
            if error.reason is not Reason.EVICTION_ELSEWHERE:
                logger.warning("the feature cache cannot be kept to NIGHTREEL_CACHE_LIMIT_GIB: %s", error)
            return Eviction()
        if done.held_bytes > self._limit_bytes:
            logger.warning(
                "the feature cache holds %.1f GiB, NIGHTREEL_CACHE_LIMIT_GIB allows %.1f: pending and running work "
                "needs %d features of it",
                done.held_bytes / 2**30,
                self._limit_bytes / 2**30,
                done.needed,
            )
        return done
