"""Erasure: which videos a key or a content means, which files they have, and the one call that erases their rows.

`stages.erase` deletes the files. sql/views/35_erase.sql is the function, which alone may change decisions.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote_plus

from sqlalchemy import ColumnElement, Connection, func, select, text, update
from sqlalchemy.exc import DBAPIError

from nightreel.database import schema
from nightreel.database.cases import sort_into_cases
from nightreel.database.legal_holds import holds_of
from nightreel.database.statements import statement
from nightreel.domain import TombstoneKey
from nightreel.errors import PermanentError, TransientError
from nightreel.reasons import Reason

_videos, _features = schema.videos.c, schema.features.c
_WHY_HELD = "a legal hold counts for one of these videos: `nightreel hold list` shows all"
_WHY_IN_WORK = "a run works on one of these videos: erase them again in some minutes"


class ErasureKind(StrEnum):
    """Why videos are erased."""

    ASKED = "asked"  # a person asked for it
    RETENTION = "retention"  # they are too old


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVersion:
    """A version of an object that Nightreel knows."""

    id: int
    uri: str
    etag: str
    size_bytes: int
    content_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFiles:
    """The files of a row of `features`, whatever became of them. A uri is None if the row has none."""

    key: str
    uri: str | None
    thumbnail_uri: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What an erasure removed, and its number in the log. `counts`: by kind."""

    erasure_id: int
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class OldVideo:
    """A video that retention erases. `is_gone`: its object is gone, so if one returns, it is a new video."""

    id: int
    uri: str
    is_gone: bool


class FilesLeftError(Exception):
    """Rows of features point to files: forget and delete these first."""


def versions_of_key(connection: Connection, uri: str) -> list[KnownVersion]:
    """All known versions of an object."""
    return _versions(connection, _videos.uri == uri)


def versions_of_contents(connection: Connection, contents: Collection[str]) -> list[KnownVersion]:
    """All known versions of all objects with one of these contents."""
    return _versions(connection, _videos.content_sha256.in_(contents))


def are_restricted(connection: Connection, uris: Collection[str]) -> set[str]:
    """Those of these objects of which only some people may see texts and pictures."""
    restricted = select(_videos.uri).where(_videos.uri.in_(uris), _videos.restricted)
    return set(connection.execute(restricted).scalars())


def feature_files(connection: Connection, versions: Sequence[KnownVersion]) -> list[FeatureFiles]:
    """The features that only these videos have: of their contents without another copy, and behind their answers."""
    only_theirs = select(func.nightreel.features_only_of([one.id for one in versions]).column_valued("key"))
    rows = connection.execute(
        select(_features.key, _features.uri, _features.thumbnail_uri).where(_features.key.in_(only_theirs))
    )
    return [FeatureFiles(**row) for row in rows.mappings()]


def forget_feature_files(connection: Connection, keys: Collection[str]) -> None:
    """Let rows of features point to no file, so that nobody uses the files any more."""
    forgotten = update(schema.features).where(_features.key.in_(keys))
    connection.execute(forgotten.values(uri=None, thumbnail_uri=None))


def require_erasable(connection: Connection, versions: Sequence[KnownVersion]) -> None:
    """Refuse to erase videos under a legal hold, and those that a run works on.

    Raises:
        PermanentError: `legal_hold`. TransientError: `video_in_work`.
    """
    ids = [one.id for one in versions]
    if held := holds_of(connection, ids):
        reasons = "; ".join(f"hold {number}: {reason}" for number, reason in held.items())
        raise PermanentError(Reason.LEGAL_HOLD, f"{_WHY_HELD} ({reasons})")
    analyses = schema.analyses.c
    claimed = select(analyses.run_id).where(analyses.video_id.in_(ids), analyses.status == "claimed")
    if (run_id := connection.execute(claimed.limit(1)).scalar()) is not None:
        raise TransientError(Reason.VIDEO_IN_WORK, f"{_WHY_IN_WORK} (run {run_id})")


def erase_rows(
    connection: Connection,
    versions: Sequence[KnownVersion],
    *,
    kind: ErasureKind,
    made_by: str,
    reason: str,
    key: TombstoneKey | None,
) -> Erased:
    """Erase all that is known of these videos, in this transaction.

    Args:
        key: leaves tombstones, so that nothing brings the videos back; None: an object that returns is a new video.

    Raises:
        FilesLeftError: a run published features since their files were deleted.
        PermanentError: `legal_hold`. TransientError: `video_in_work`.
    """
    copies = {one.id for one in versions_of_contents(connection, _contents(versions))} - {one.id for one in versions}
    request = {
        "kind": kind,
        "made_by": made_by,
        "reason": reason,
        "video_ids": [one.id for one in versions],
        "queries": sorted({quote_plus(one.uri) for one in versions}),
        **(_tombstones(versions, key, kind) if key else {}),
    }
    try:
        done = connection.execute(
            text("SELECT nightreel.erase(CAST(:request AS jsonb))"), {"request": json.dumps(request)}
        ).scalar_one()
    except DBAPIError as error:
        match getattr(error.orig, "sqlstate", None):
            case "NR001":
                raise PermanentError(Reason.LEGAL_HOLD, _WHY_HELD) from error
            case "NR002":
                raise TransientError(Reason.VIDEO_IN_WORK, _WHY_IN_WORK) from error
            case "NR003":
                raise FilesLeftError from error
        raise
    sort_into_cases(connection, copies)
    return Erased(erasure_id=done.pop("erasure"), counts=done)


def old_videos(
    connection: Connection, *, found_before: datetime | None, gone_before: datetime | None, after: int, most: int
) -> list[OldVideo]:
    """The first videos, by id, that were found or are gone before these times and that no legal hold counts for.

    Args:
        found_before, gone_before: None: no matter how old. after: the id to start after.
    """
    rows = connection.execute(
        statement("old_videos"),
        {"found_before": found_before, "gone_before": gone_before, "after": after, "most": most},
    )
    return [OldVideo(**row) for row in rows.mappings()]


def _tombstones(versions: Sequence[KnownVersion], key: TombstoneKey, kind: ErasureKind) -> dict[str, Any]:
    """The tombstones of these versions, and of their contents if a person asked: old bytes may be uploaded again."""
    macs = {key.of_object(one.uri) for one in versions} | {key.of_version(one.uri, one.etag) for one in versions}
    contents: set[str] = set()
    if kind is ErasureKind.ASKED:
        contents = _contents(versions)
        macs |= {key.of_copy(one.uri, one.content_sha256) for one in versions if one.content_sha256}
    return {
        "key_id": key.id.hex(),
        "macs": sorted(mac.hex() for mac in macs),
        "content_macs": {content: key.of_content(content).hex() for content in contents},
    }


def _contents(versions: Sequence[KnownVersion]) -> set[str]:
    return {one.content_sha256 for one in versions if one.content_sha256}


def _versions(connection: Connection, condition: ColumnElement[bool]) -> list[KnownVersion]:
    columns = [_videos[name] for name in KnownVersion.__slots__]
    rows = connection.execute(select(*columns).where(condition).order_by(_videos.id))
    return [KnownVersion(**row) for row in rows.mappings()]
