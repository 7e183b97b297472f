"""Whether the index of the feature cache and its files agree, and making them agree again.

Files and rows are both read in the order of their keys, by pages, and laid side by side: memory stays flat for
millions. What does not fit at first sight is looked at again before it is called wrong, because runs and evictions go
on meanwhile: a row that was used since the check began is left to whoever uses it, a file without a row may be one
that a run has published and not recorded yet, or one that an eviction is just deleting.

Repairs go one way: the index gives up what it cannot vouch for, files that it does not know are deleted. Both only
cost computing again.

`nightreel cache check` calls it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby, islice

from nightreel.cache.eviction import delete_unindexed
from nightreel.cache.features import CachedFile, FeatureCache
from nightreel.database.cache_index import (
    IndexRow,
    database_time,
    forget_files,
    forget_thumbnails,
    index_rows,
    index_rows_of,
)
from nightreel.database.connection import Database
from nightreel.database.eviction import cache_usage, sole_evictor
from nightreel.errors import PermanentError
from nightreel.reasons import Reason

GRACE_S = 3600.0
"""Age below which a file without a row is left alone. A run records a chunk's files together, minutes at most later."""

_PAGE = 1000
_READ_AT_ONCE = 4  # whole files in memory
_ASKED_AT_ONCE = 16


class Problem(StrEnum):
    NO_FILE = "no file"  # features that the index promises are not there
    NO_ROW = "no row"  # features or a thumbnail that the index does not know
    WRONG_SIZE = "wrong size"
    DAMAGED = "damaged"  # right size, other bytes: found by reading everything
    NO_THUMBNAIL = "no thumbnail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong. `repaired`: it was, and is not any more."""

    problem: Problem
    key: str
    uri: str
    detail: str = ""
    repaired: bool = False


@dataclass(slots=True)
class CheckCounts:
    """What a check has seen so far.

    Args:
        rows, files: read. size_bytes: of the files.
        left: files without a row that are too young to judge, and whatever is in use.
        foreign: objects below the prefix that no cache has put there; they are never touched.
    """

    rows: int = 0
    files: int = 0
    size_bytes: int = 0
    left: int = 0
    foreign: int = 0
    found: Counter[Problem] = field(default_factory=Counter)
    repaired: Counter[Problem] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Pair:
    """All that is known under one key."""

    key: str
    row: IndexRow | None
    features: CachedFile | None
    thumbnail: CachedFile | None


class CacheCheck:
    """One check of a cache.

    Args:
        repair: make index and files agree.
        deep: read every file and compare its SHA-256.
        all_gone: repair also where not one file is left; else that is taken for a disk that is not mounted.
        grace_s: age below which a file without a row is left alone, seconds.
        on_progress: called with the counts after each page.
    """

    def __init__(
        self,
        database: Database,
        cache: FeatureCache,
        *,
        repair: bool = False,
        deep: bool = False,
        all_gone: bool = False,
        grace_s: float = GRACE_S,
        on_progress: Callable[[CheckCounts], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._cache = cache
        self._prefix = f"{cache.url}/"
        self._repair = repair
        self._deep = deep
        self._all_gone = all_gone
        self._grace = timedelta(seconds=grace_s)
        self._on_progress = on_progress
        self.counts = CheckCounts()

    def findings(self) -> Iterator[Finding]:
        """Everything that is wrong, in the order of the keys. Nothing is repaired that was not asked for from here.

        Raises:
            PermanentError: `cache_empty`: to be repaired, and not one file is there.
            NightreelError: of database and storage.
        """
        with self._database.begin() as connection:
            began = database_time(connection)
            promised = cache_usage(connection, self._prefix).features
        if self._repair and promised and not self._all_gone and next(self._cache.files(), None) is None:
            raise PermanentError(
                Reason.CACHE_EMPTY,
                f"the index has {promised:,} features at {self._cache.url}, and not one file is there: mount it, or "
                "check NIGHTREEL_CACHE_URL; if they are really gone, say --all-gone",
            )
        pairs = self._pairs()
        while page := list(islice(pairs, _PAGE)):
            for finding in self._judge(page, began):
                self.counts.found[finding.problem] += 1
                self.counts.repaired[finding.problem] += finding.repaired
                yield finding
            self._on_progress(self.counts)

    # -- side by side --------------------------------------------------------------------------------------------

    def _pairs(self) -> Iterator[_Pair]:
        """Rows and files by key: a merge of two sorted streams."""
        rows = index_rows(self._database, self._prefix, page_size=_PAGE)
        files = ((key, list(group)) for key, group in groupby(self._files(), key=lambda file: file.key))
        row, group = next(rows, None), next(files, None)
        while row is not None or group is not None:
            key = min(item for item in (row and row.key, group and group[0]) if item)
            own_row, own_files = None, []
            if row is not None and row.key == key:
                own_row, row = row, next(rows, None)
                self.counts.rows += 1
            if group is not None and group[0] == key:
                own_files, group = group[1], next(files, None)
            features = next((file for file in own_files if not file.is_thumbnail), None)
            thumbnail = next((file for file in own_files if file.is_thumbnail), None)
            yield _Pair(key, own_row, features, thumbnail)

    def _files(self) -> Iterator[CachedFile]:
        for file in self._cache.files(on_foreign=self._count_foreign):
            self.counts.files += 1
            self.counts.size_bytes += file.size_bytes
            yield file

    def _count_foreign(self, _: str) -> None:
        self.counts.foreign += 1

    # -- judging -------------------------------------------------------------------------------------------------

    def _judge(self, page: list[_Pair], began: datetime) -> Iterator[Finding]:
        suspects = [pair for pair in page if not self._agree(pair, pair.row)]
        damaged = self._damaged([pair for pair in page if self._deep and self._agree(pair, pair.row)])
        suspects += [pair for pair in page if pair.key in damaged]
        if not suspects:
            return
        with self._database.begin() as connection:
            rows = index_rows_of(connection, [pair.key for pair in suspects])
        settled = []
        for pair in suspects:
            row = rows.get(pair.key)
            if row is not None and row.last_used_at >= began:
                self.counts.left += 1
            else:
                settled.append(replace(pair, row=row))
        found = self._confirmed([finding for pair in settled for finding in self._wrong_rows(pair, damaged)])
        yield from self._repair_rows(found, began) if self._repair else found
        yield from self._strays(settled, began)

    def _agree(self, pair: _Pair, row: IndexRow | None) -> bool:
        uri, thumbnail_uri = (row.uri, row.thumbnail_uri) if row else (None, None)
        return (
            uri == (pair.features and pair.features.uri)
            and thumbnail_uri == (pair.thumbnail and pair.thumbnail.uri)
            and (pair.features is None or row is None or pair.features.size_bytes == row.size_bytes)
        )

    def _damaged(self, pairs: list[_Pair]) -> set[str]:
        """Keys of files that do not hold what was written."""

        def differs(pair: _Pair) -> bool:
            assert pair.row is not None
            assert pair.features is not None
            try:
                data = self._cache.read(pair.features.uri)
            except PermanentError as error:
                if error.reason is not Reason.OBJECT_GONE:  # evicted since it was listed: its row tells
                    raise
                return False
            return hashlib.sha256(data).hexdigest() != pair.row.sha256

        readable = [pair for pair in pairs if pair.features]
        with ThreadPoolExecutor(_READ_AT_ONCE, "check") as threads:
            return {pair.key for pair, bad in zip(readable, threads.map(differs, readable), strict=True) if bad}

    def _wrong_rows(self, pair: _Pair, damaged: set[str]) -> Iterator[Finding]:
        row = pair.row
        if row is None:
            return
        if row.uri is not None and row.uri.startswith(self._prefix):
            if pair.features is None:
                yield Finding(problem=Problem.NO_FILE, key=row.key, uri=row.uri)
            elif pair.features.size_bytes != row.size_bytes:
                detail = f"{pair.features.size_bytes:,} bytes, the index says {row.size_bytes:,}"
                yield Finding(problem=Problem.WRONG_SIZE, key=row.key, uri=row.uri, detail=detail)
            elif pair.key in damaged:
                yield Finding(problem=Problem.DAMAGED, key=row.key, uri=row.uri, detail="its SHA-256 differs")
        if row.thumbnail_uri is not None and row.thumbnail_uri.startswith(self._prefix) and pair.thumbnail is None:
            yield Finding(problem=Problem.NO_THUMBNAIL, key=row.key, uri=row.thumbnail_uri)

    def _confirmed(self, found: list[Finding]) -> list[Finding]:
        """Without the files that are there though no listing had them: a directory that could not be read, say."""
        absent = [finding for finding in found if finding.problem in (Problem.NO_FILE, Problem.NO_THUMBNAIL)]
        with ThreadPoolExecutor(_ASKED_AT_ONCE, "check") as threads:
            there = threads.map(lambda finding: self._cache.exists(finding.uri), absent)
            mistaken = {finding.uri for finding, is_there in zip(absent, there, strict=True) if is_there}
        self.counts.left += len(mistaken)
        return [finding for finding in found if finding.uri not in mistaken]

    def _strays(self, pairs: list[_Pair], began: datetime) -> Iterator[Finding]:
        """Files that no row points to, once neither a run nor an eviction can be at them."""
        strays: list[tuple[_Pair, CachedFile]] = []
        for pair in pairs:
            pointed_to = {pair.row.uri, pair.row.thumbnail_uri} if pair.row else set()
            for file in (pair.features, pair.thumbnail):
                if file is None or file.uri in pointed_to:
                    continue
                if file.modified_at > began - self._grace:
                    self.counts.left += 1
                else:
                    strays.append((pair, file))
        if not strays:
            return
        with sole_evictor(self._database) as alone:
            if not alone:
                self.counts.left += len(strays)
                return
            there = [(pair, file) for pair, file in strays if self._cache.exists(file.uri)]
            deleted = self._delete(there) if self._repair else set()
        for pair, file in there:
            yield Finding(problem=Problem.NO_ROW, key=pair.key, uri=file.uri, repaired=file.uri in deleted)

    # -- repairing -----------------------------------------------------------------------------------------------

    def _repair_rows(self, found: list[Finding], began: datetime) -> list[Finding]:
        """The index gives up what it cannot vouch for; files that are no good go after it."""
        bad = {finding.key: finding.uri for finding in found if finding.problem is not Problem.NO_THUMBNAIL}
        without = [finding.key for finding in found if finding.problem is Problem.NO_THUMBNAIL]
        with self._database.begin() as connection:
            forgotten = forget_files(connection, bad, unused_since=began)
            pictures = forget_thumbnails(connection, without, unused_since=began)
        delete_unindexed(self._database, self._cache, {key: bad[key] for key in forgotten})
        return [
            replace(
                finding, repaired=finding.key in (pictures if finding.problem is Problem.NO_THUMBNAIL else forgotten)
            )
            for finding in found
        ]

    def _delete(self, strays: Iterable[tuple[_Pair, CachedFile]]) -> set[str]:
        """Delete files under the locks of their rows where there are any; returns the uris that are gone."""
        deleted = set()
        for is_thumbnail in (False, True):
            known = {pair.key: file.uri for pair, file in strays if pair.row and file.is_thumbnail == is_thumbnail}
            deleted |= {known[key] for key in delete_unindexed(self._database, self._cache, known)}
        for pair, file in strays:
            if pair.row is None and self._cache.delete(file.uri):
                deleted.add(file.uri)
        return deleted
