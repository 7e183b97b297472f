"""Eviction: keep the feature cache to a size. Least recently used features go first, never those that work needs.

The index changes first, then files are deleted, a batch at a time:

    1. one statement chooses files and removes their `uri` from the index (null), and commits;
    2. a second transaction locks those of these rows whose `uri` is still null, deletes their files, increments
       `evictions`, and commits.

So index and files agree after a crash at any point. Before the first commit nothing has changed. After it the rows have
no `uri`, so every reader computes the features again. At most one batch of files without a row remains, and
`nightreel cache check` finds it. The other order would leave rows that point to missing files.

Running work is safe too. A run that looked up its features before step 1 has a claim or a fresh `last_used_at`, which
the statement sees. A run that looks after step 1 decodes again. If it publishes before step 2, it gets the file that
still exists. Then either it records the file first, and step 2 leaves the row alone because its `uri` is set, or step 2
comes first, and the increased `evictions` makes the run publish again.

Files that cannot be deleted get their `uri` back: a bucket that refuses deletion must not leak its whole content.

Thumbnails are neither counted nor evicted. A feature is computed again when a question needs it, but a picture of a
finished video never would be. Thumbnails take some KiB, features some hundreds of KiB.

Used by stages and commands.
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

_BATCH = 200  # rows that one statement examines, and files that a crash can leave behind
_DELETIONS_AT_ONCE = 16  # a store takes some ten milliseconds for each
_SHARE = 100  # a run publishes 1/100 of the limit between two checks of the whole cache

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """The result of an eviction or a dry run.

    Args:
        features, size_bytes: number and size of evicted features.
        held_bytes: size of the cache afterwards.
        limit_bytes: the size that was requested.
        needed: features that were kept because pending or running work needs them.
    """

    features: int = 0
    size_bytes: int = 0
    held_bytes: int = 0
    limit_bytes: int = 0
    needed: int = 0

    def __str__(self) -> str:
        return (
            f"{self.features:,} features of {self.size_bytes / 2**30:.3g} GiB evicted; the cache holds "
            f"{self.held_bytes / 2**30:.3g} GiB, the limit is {self.limit_bytes / 2**30:.3g} GiB"
        )

    @property
    def reached(self) -> bool:
        """Whether the cache is within the limit."""
        return self.held_bytes <= self.limit_bytes


def evict(
    database: Database,
    cache: FeatureCache,
    *,
    limit_bytes: int,
    dry_run: bool = False,
    on_progress: Callable[[Eviction], None] = lambda _: None,
) -> Eviction:
    """Evict until the cache holds at most `limit_bytes`, or until no feature may be evicted.

    Args:
        dry_run: change nothing; return what an eviction would do.
        on_progress: called after each batch with the totals so far.

    Raises:
        TransientError: `eviction_elsewhere`: another process is evicting, and one is enough.
        NightreelError: of database and storage. Features that were evicted so far stay evicted.
    """
    prefix = f"{cache.url}/"
    with sole_evictor(database) as won:
        if not won:
            raise TransientError(Reason.EVICTION_ELSEWHERE, "another process is evicting now, and one is enough")
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
        uris: by key; files that are indexed again, or are just being indexed, are left alone.
        restore_failed: let rows point again to the files that could not be deleted.

    Returns:
        The keys whose files are deleted.

    Raises:
        NightreelError: the first error of the storage, after all deletions were tried.
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

    The size of the whole cache is summed when the run starts, and again whenever the run has published 1/100 of the
    limit. The sum reads as many rows as the cache has, and 1/100 of them are new: the cost of a published feature stays
    the same, however large the cache is. Each concurrent run may exceed the limit by 1/100.

    Args:
        limit_bytes: largest size of the cache; 0: no limit.
    """

    def __init__(self, database: Database, cache: FeatureCache, *, limit_bytes: int) -> None:
        self._database, self._cache = database, cache
        self._limit_bytes = limit_bytes
        self._unseen_bytes = limit_bytes

    @property
    def is_set(self) -> bool:
        return self._limit_bytes > 0

    def published(self, size_bytes: int) -> None:
        """Record that this run added `size_bytes`."""
        self._unseen_bytes += size_bytes

    def make_room(self, *, now: bool = False) -> Eviction:
        """Evict if a check is due, down to 1/100 below the limit: that much may be published before the next check.

        A cache that cannot be made smaller does not end a night: this logs a warning. A full disk raises its own error.

        Args:
            now: check the whole cache even if no check is due.
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
                logger.warning("cannot keep the feature cache to NIGHTREEL_CACHE_LIMIT_GIB: %s", error)
            return Eviction()
        if done.held_bytes > self._limit_bytes:
            logger.warning(
                "the feature cache holds %.1f GiB, but NIGHTREEL_CACHE_LIMIT_GIB allows %.1f: pending and running work "
                "needs %d features",
                done.held_bytes / 2**30,
                self._limit_bytes / 2**30,
                done.needed,
            )
        return done
