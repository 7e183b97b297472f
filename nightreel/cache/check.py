"""Check whether the index of the feature cache and its files agree, and repair them.

Files and rows are both read by pages in the order of their keys and compared: memory stays flat for millions. A
mismatch is checked again before it counts as wrong, because runs and evictions continue meanwhile. A row that was used
since the check started is left alone. A file without a row may be one that a run has published but not recorded yet, or
one that an eviction is deleting.

Repairs go one way: the index drops rows' files that are missing or wrong, and files without a row are deleted. The only
cost is computing features again.

Used by `nightreel cache check`.
"""

from __future__ import annotations

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
"""Younger files without a row are left alone. A run records a chunk's files together, minutes later at most."""

_PAGE = 1000
_READ_AT_ONCE = 4  # each read holds a whole file in memory
_ASKED_AT_ONCE = 16


class Problem(StrEnum):
    NO_FILE = "no file"  # the index has features whose file is missing
    NO_ROW = "no row"  # features or a thumbnail without a row in the index
    WRONG_SIZE = "wrong size"
    DAMAGED = "damaged"  # right size, wrong bytes: found only by reading the file
    NO_THUMBNAIL = "no thumbnail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem. `repaired`: the check has repaired it."""

    problem: Problem
    key: str
    uri: str
    detail: str = ""
    repaired: bool = False


@dataclass(slots=True)
class CheckCounts:
    """The counts of a check so far.

    Args:
        rows, files: number read. size_bytes: of the files.
        left: files without a row that are too young to judge, and everything in use.
        unsigned: files of features without a row that have no MAC of this cache, found only by reading them.
        foreign: objects below the prefix that are not from a cache; they are never changed.
    """

    rows: int = 0
    files: int = 0
    size_bytes: int = 0
    left: int = 0
    unsigned: int = 0
    foreign: int = 0
    found: Counter[Problem] = field(default_factory=Counter)
    repaired: Counter[Problem] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Pair:
    """The row and files of one key."""

    key: str
    row: IndexRow | None
    features: CachedFile | None
    thumbnail: CachedFile | None


class CacheCheck:
    """One check of a cache.

    Args:
        repair: make index and files agree.
        deep: read every file and compare its SHA-256.
        all_gone: repair even if no file is left; otherwise that counts as a disk that is not mounted.
        grace_s: younger files without a row are left alone, seconds.
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
        """Yield all problems in the order of the keys, and repair each page of keys before yielding its problems.

        Raises:
            PermanentError: `cache_empty`: repair was requested, and no file exists.
            NightreelError: of database and storage.
        """
        with self._database.begin() as connection:
            began = database_time(connection)
            promised = cache_usage(connection, self._prefix).features
        if self._repair and promised and not self._all_gone and next(self._cache.files(), None) is None:
            raise PermanentError(
                Reason.CACHE_EMPTY,
                f"the index has {promised:,} features at {self._cache.url}, but no file exists there: mount it, or "
                "check NIGHTREEL_CACHE_URL; if the files are really gone, pass --all-gone",
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
        """Yield rows and files by key: a merge of two sorted streams."""
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
        """Keys of files whose content differs from what was written."""

        def differs(pair: _Pair) -> bool:
            assert pair.row is not None
            assert pair.features is not None
            return self._cache.differs(pair.features.uri, size_bytes=pair.row.size_bytes, sha256=pair.row.sha256)

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
                detail = f"{pair.features.size_bytes:,} bytes, expected {row.size_bytes:,} by the index"
                yield Finding(problem=Problem.WRONG_SIZE, key=row.key, uri=row.uri, detail=detail)
            elif pair.key in damaged:
                yield Finding(problem=Problem.DAMAGED, key=row.key, uri=row.uri, detail="its SHA-256 differs")
        if row.thumbnail_uri is not None and row.thumbnail_uri.startswith(self._prefix) and pair.thumbnail is None:
            yield Finding(problem=Problem.NO_THUMBNAIL, key=row.key, uri=row.thumbnail_uri)

    def _confirmed(self, found: list[Finding]) -> list[Finding]:
        """Drop findings whose file exists after all, for example in a directory that could not be listed."""
        absent = [finding for finding in found if finding.problem in (Problem.NO_FILE, Problem.NO_THUMBNAIL)]
        with ThreadPoolExecutor(_ASKED_AT_ONCE, "check") as threads:
            there = threads.map(lambda finding: self._cache.exists(finding.uri), absent)
            mistaken = {finding.uri for finding, is_there in zip(absent, there, strict=True) if is_there}
        self.counts.left += len(mistaken)
        return [finding for finding in found if finding.uri not in mistaken]

    def _strays(self, pairs: list[_Pair], began: datetime) -> Iterator[Finding]:
        """Yield files without a row. Files that a run or an eviction may be using are left alone."""
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
            unsigned = self._unsigned([file for _, file in there]) if self._deep else set()
            deleted = self._delete(there) if self._repair else set()
        for pair, file in there:
            detail = "it has no MAC of this cache" if file.uri in unsigned else ""
            repaired = file.uri in deleted
            yield Finding(problem=Problem.NO_ROW, key=pair.key, uri=file.uri, detail=detail, repaired=repaired)

    def _unsigned(self, strays: list[CachedFile]) -> set[str]:
        """The uris of files of features that no key of this cache has signed."""
        files = [file for file in strays if not file.is_thumbnail]
        with ThreadPoolExecutor(_READ_AT_ONCE, "check") as threads:
            signed = threads.map(self._cache.is_signed, files)
            unsigned = {file.uri for file, good in zip(files, signed, strict=True) if not good}
        self.counts.unsigned += len(unsigned)
        return unsigned

    # -- repairing -----------------------------------------------------------------------------------------------

    def _repair_rows(self, found: list[Finding], began: datetime) -> list[Finding]:
        """Remove missing and bad files from the index, then delete the bad files."""
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
        """Delete files, under the locks of their rows where rows exist. Returns the uris of deleted files."""
        deleted = set()
        for is_thumbnail in (False, True):
            known = {pair.key: file.uri for pair, file in strays if pair.row and file.is_thumbnail == is_thumbnail}
            deleted |= {known[key] for key in delete_unindexed(self._database, self._cache, known)}
        for pair, file in strays:
            if pair.row is None and self._cache.delete(file.uri):
                deleted.add(file.uri)
        return deleted
