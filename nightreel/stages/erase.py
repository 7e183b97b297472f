"""Erase: remove all that is known of videos, in an order in which a killed erasure can be repeated.

    1. files: features and thumbnails in the cache, copies in the spool, previews
    2. Prefect: what the caller's `forget` removes
    3. rows, and the tombstones that take their place: one transaction (`database.erasures`)

The rows name all that is to be removed, so they go last: until then, a repeated erasure finds everything again. After
that, nothing is left to do.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nightreel.cache.eviction import delete_unindexed
from nightreel.cache.features import FeatureCache
from nightreel.cache.previews import PreviewStore
from nightreel.database.connection import Database
from nightreel.database.erasures import (
    ErasureKind,
    FilesLeftError,
    KnownVersion,
    OldVideo,
    erase_rows,
    feature_files,
    forget_feature_files,
    old_videos,
    require_erasable,
    versions_of_contents,
    versions_of_key,
)
from nightreel.database.tombstones import require_key
from nightreel.domain import TombstoneKey
from nightreel.errors import NightreelError, TransientError
from nightreel.reasons import Reason
from nightreel.settings import Settings
from nightreel.stages.cache import open_cache
from nightreel.stages.erase_target import Mention
from nightreel.stages.tombstones import make_tombstone_key, read_tombstone_key
from nightreel.storage import open_storage
from nightreel.storage.spool import Spool
from nightreel.units import counted

OUT_OF_REACH = (
    "backups and replicas of the database and of the stores: erase again after a restore, or let them expire",
    "exports, webhook events and pages that were delivered or downloaded",
    "the object itself, which stays in its bucket or directory",
    "events of Prefect, until it deletes them (at most 7 days on the embedded server), and logs outside of it",
)
"""What an erasure does not reach, for its report."""
_TRIES = 5
_PAGE = 200
_NO_STORE = frozenset({Reason.NO_SUCH_SOURCE, Reason.NO_SUCH_BUCKET, Reason.OBJECT_GONE})

logger = logging.getLogger(__name__)


Forget = Callable[[Mention], Mapping[str, int]]
"""Removes mentions of videos from Prefect. Returns counts for the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureReport:
    """What an erasure did.

    Args:
        erasure_id: in the log; None: all was erased before, and only Prefect was looked through again.
        counts: rows that were removed or blanked. files: features and thumbnails. spooled: copies in the spool.
        previews: of the console on this host.
        prefect: what was removed from Prefect; empty: it was not looked through.
        kept_copies: objects with the same bytes that stay.
    """

    erasure_id: int | None
    counts: Mapping[str, int] = field(default_factory=dict)
    files: int = 0
    spooled: int = 0
    previews: int = 0
    prefect: Mapping[str, int] = field(default_factory=dict)
    kept_copies: int = 0
    out_of_reach: Sequence[str] = OUT_OF_REACH


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """What retention did. `left`: old videos that a run works on, or that came under a hold meanwhile."""

    erased: int = 0
    left: int = 0

    def __str__(self) -> str:
        return f"{counted(self.erased, 'video')} erased, {self.left:,} left for the next time"


def erasing_key(settings: Settings, database: Database) -> TombstoneKey:
    """The secret for new tombstones; made, if nothing was ever erased.

    Raises:
        PermanentError: `tombstone_key`: something was erased with another one.
    """
    key = read_tombstone_key(settings)
    with database.begin() as connection:
        require_key(connection, key)
    return key or make_tombstone_key(settings)


def erase(
    settings: Settings,
    database: Database,
    versions: Sequence[KnownVersion],
    *,
    kind: ErasureKind,
    made_by: str,
    reason: str,
    key: TombstoneKey | None,
    forget: Forget | None = None,
) -> ErasureReport:
    """Erase all that is known of these versions.

    Args:
        key: leaves tombstones; None: an object that returns is a new video.
        forget: removes mentions from Prefect; None: they stay until it deletes its old runs.

    Raises:
        PermanentError: `legal_hold`. TransientError: `video_in_work`.
        NightreelError: of the stores, of Prefect and of the database. Then the rows are still there: erase again.
    """
    with database.begin() as connection:
        require_erasable(connection, versions)
        copies = versions_of_contents(connection, _mention(versions).contents)
    mention = _mention(versions)
    cache = open_cache(settings, database)
    files = _delete_files(settings, database, cache, versions)
    spooled = _delete_spooled(settings, versions)
    previews = PreviewStore.from_settings(settings).erase(mention.contents)
    prefect = forget(mention) if forget else {}
    for _ in range(_TRIES):
        try:
            with database.begin() as connection:
                done = erase_rows(connection, versions, kind=kind, made_by=made_by, reason=reason, key=key)
        except FilesLeftError:
            files += _delete_files(settings, database, cache, versions)
        else:
            return ErasureReport(
                erasure_id=done.erasure_id,
                counts=done.counts,
                files=files,
                spooled=spooled,
                previews=previews,
                prefect=prefect,
                kept_copies=len({one.uri for one in copies} - set(mention.uris)),
            )
    raise TransientError(Reason.VIDEO_IN_WORK, "runs publish features of these videos again and again: try again later")


def apply_retention(settings: Settings, database: Database) -> Retained:
    """Erase the videos that are older than the settings allow, each in its own transaction. Repeating it goes on.

    Prefect is not looked through: it deletes its runs after `NIGHTREEL_PREFECT_KEEP_DAYS`.
    """
    now = datetime.now(UTC)
    found_before = now - timedelta(days=settings.keep_days) if settings.keep_days else None
    gone_before = now - timedelta(days=settings.keep_gone_days) if settings.keep_gone_days else None
    if found_before is None and gone_before is None:
        return Retained()
    key = erasing_key(settings, database) if found_before else None
    done, after = Retained(), 0
    while True:
        with database.begin() as connection:
            page = old_videos(connection, found_before=found_before, gone_before=gone_before, after=after, most=_PAGE)
        for video in page:
            try:
                _retire(settings, database, video, key=key)
            except NightreelError as error:
                if error.reason not in (Reason.VIDEO_IN_WORK, Reason.LEGAL_HOLD):
                    raise
                done = replace(done, left=done.left + 1)
                logger.info("video %d stays for now: %s", video.id, error.reason)
            else:
                done = replace(done, erased=done.erased + 1)
        if len(page) < _PAGE:
            return done
        after = page[-1].id


def _retire(settings: Settings, database: Database, video: OldVideo, *, key: TombstoneKey | None) -> None:
    with database.begin() as connection:
        versions = [one for one in versions_of_key(connection, video.uri) if one.id == video.id]
    if versions:
        erase(
            settings,
            database,
            versions,
            kind=ErasureKind.RETENTION,
            made_by="retention",
            reason="its object is gone" if video.is_gone else "it is old",
            key=None if video.is_gone else key,
        )


def _mention(versions: Sequence[KnownVersion]) -> Mention:
    return Mention(
        uris=tuple(sorted({one.uri for one in versions})),
        contents=tuple(sorted({one.content_sha256 for one in versions if one.content_sha256})),
    )


def _delete_files(settings: Settings, database: Database, cache: FeatureCache, versions: Sequence[KnownVersion]) -> int:
    """Delete features and thumbnails, also of features that were evicted: a crash may have left their files.

    Returns:
        The number of files that rows pointed to.
    """
    with database.begin() as connection:
        found = feature_files(connection, versions)
    known = {uri for one in found for uri in (one.uri, one.thumbnail_uri) if uri is not None}
    for uri in known - {uri for one in found for uri in cache.uris_of(one.key)}:  # in a cache of earlier
        _delete_elsewhere(settings, uri)
    with database.begin() as connection:
        forget_feature_files(connection, [one.key for one in found])
    for place in (0, 1):
        uris = {one.key: cache.uris_of(one.key)[place] for one in found}
        if uris.keys() - delete_unindexed(database, cache, uris):
            raise TransientError(Reason.VIDEO_IN_WORK, "another process uses features of these videos: try again later")
    return len(known)


def _delete_elsewhere(settings: Settings, uri: str) -> None:
    try:
        open_storage(uri.rpartition("/")[0], settings).delete(uri)
    except NightreelError as error:
        if error.reason not in _NO_STORE:
            raise


def _delete_spooled(settings: Settings, versions: Sequence[KnownVersion]) -> int:
    """Delete what dead processes left in the spool of this host, and copies of these videos in the spool of live ones.

    No run works on these videos. The REST service keeps the last video that somebody looked at.
    """
    directory = settings.work_dir / "spool"
    if not directory.is_dir():
        return 0
    Spool(directory, limit_bytes=1).close()
    contents = {one.content_sha256 for one in versions}
    sizes = {one.size_bytes for one in versions}
    count = 0
    for path in directory.glob("*/*/*"):
        with suppress(FileNotFoundError):  # its process has deleted it
            if path.is_file() and path.stat().st_size in sizes and _sha256(path) in contents:
                path.unlink()
                count += 1
    return count


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
