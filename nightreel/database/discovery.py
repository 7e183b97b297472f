"""Discovery compares a page of the object listing with Postgres: new, changed, known but not yet wanted, or gone.

It knows nothing of how objects are listed or analysed. A page without new objects costs one indexed read, with any
number of known videos.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from nightreel.database.cases import sort_into_cases
from nightreel.database.statements import statement
from nightreel.database.tombstones import without_erased
from nightreel.domain import StoredObject, TombstoneKey


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCounts:
    """Counts of objects on one or several pages of the listing.

    Args:
        listed: objects on the page. filtered: objects left out by suffix, by time, or because they are text.
        skipped: entries that cannot be stored, such as one with an impossible date; not part of the others.
        new, changed: versions never seen before. wanted: known videos, new under this recipe.
        known: videos that have an analysis under this recipe, with any status.
        back: known and wanted videos that were marked gone. gone: videos that a sweep no longer found.
        restored: videos that failed because their object was in an archive, and may be readable now.
        erased: objects that are left out because they were erased.
    """

    listed: int = 0
    filtered: int = 0
    skipped: int = 0
    new: int = 0
    changed: int = 0
    wanted: int = 0
    known: int = 0
    back: int = 0
    gone: int = 0
    restored: int = 0
    erased: int = 0

    def __add__(self, other: PageCounts) -> PageCounts:
        return PageCounts(**{name: getattr(self, name) + getattr(other, name) for name in self.__slots__})

    @property
    def added(self) -> int:
        return self.new + self.changed + self.wanted + self.restored


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingFilter:
    """Which objects of a listing are videos to analyse.

    Args:
        named: URIs that a person named: these need no suffix.
    """

    suffixes: tuple[str, ...] = ()
    named: frozenset[str] = frozenset()
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
        if self.suffixes and item.uri not in self.named and not item.uri.lower().endswith(self.suffixes):
            return False
        if self.since and item.modified_at < self.since:
            return False
        return not (self.until and item.modified_at >= self.until)


def discover_page(
    connection: Connection,
    page: Sequence[StoredObject],
    *,
    admit: ListingFilter,
    recipe_id: int,
    run_id: int,
    as_of: datetime | None = None,
    tombstone_key: TombstoneKey | None = None,
) -> PageCounts:
    """Add the unknown videos of a page, and their analyses. Reopen those whose object was in an archive.

    Args:
        as_of: when the listing was made; None: now. An older listing does not replace versions that were found since,
            and does not bring back videos that were found gone since.
        tombstone_key: the secret by which erased objects are recognised, if this host has one.

    Raises:
        PermanentError: `tombstone_key`: objects were erased with another secret.
    """
    items = [item for item in page if admit.admits(item)]
    found = _needing_work(connection, items, recipe_id=recipe_id, as_of=as_of) if items else []
    needed, erased = without_erased(connection, found, tombstone_key)
    if needed:
        added = _columns(needed)
        keys = {name: added[name] for name in ("uris", "etags")}
        _mark_replaced(connection, keys)
        connection.execute(statement("add_videos"), {"run_id": run_id, **added})
        connection.execute(statement("add_analyses"), {"recipe_id": recipe_id, **keys})
    states = [row.state for row in needed]
    if restored := [row for row in needed if row.state == "restored"]:
        keys = {"uris": [row.uri for row in restored], "etags": [row.etag for row in restored]}
        connection.execute(statement("reopen_archived"), {"recipe_id": recipe_id, **keys})
    return PageCounts(
        listed=len(page),
        filtered=len(page) - len(items),
        new=states.count("new"),
        changed=states.count("changed"),
        wanted=states.count("wanted"),
        known=len(items) - len(found) + states.count("back"),
        back=sum(row.back for row in needed),
        restored=len(restored),
        erased=erased,
    )


def _mark_replaced(connection: Connection, keys: dict[str, list[Any]]) -> None:
    """Mark the earlier versions of objects replaced. There is nothing left to judge about those without a copy."""
    replaced = connection.execute(statement("mark_replaced"), keys).scalars().all()
    if replaced:
        sort_into_cases(connection, replaced)


def unknown_uris(connection: Connection, uris: Sequence[str]) -> set[str]:
    """The uris that no video has, of any version."""
    return set(connection.execute(statement("unknown_uris"), {"uris": list(uris)}).scalars())


def correct_versions(
    connection: Connection,
    page: Sequence[StoredObject],
    *,
    admit: ListingFilter,
    recipe_id: int,
    run_id: int,
    tombstone_key: TombstoneKey | None = None,
) -> PageCounts:
    """Correct the rows of objects that the filter leaves out, if they were overwritten or are back.

    They are not work, but their rows must be right. Sweeps call it after `discover_page`.

    Returns:
        Counts to add to those of `discover_page`.
    """
    left_out = [item for item in page if not admit.admits(item)]
    if not left_out:
        return PageCounts()
    found, _ = without_erased(
        connection, _needing_work(connection, left_out, recipe_id=recipe_id, as_of=None), tombstone_key
    )
    untrue = [row for row in found if row.state == "changed" or row.back]
    if untrue:
        columns = _columns(untrue)
        _mark_replaced(connection, {name: columns[name] for name in ("uris", "etags")})
        connection.execute(statement("add_videos"), {"run_id": run_id, **columns})
    changed = sum(row.state == "changed" for row in untrue)
    back = len(untrue) - changed
    return PageCounts(filtered=-len(untrue), changed=changed, known=back, back=back)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Part of a full listing: the keys after `after_uri`, up to and including `up_to_uri`, with their objects.

    Args:
        uri_prefix: of the source, ending with a slash. listed: the listed uris.
        began_at: when the sweep started, by the database's clock.
    """

    uri_prefix: str
    after_uri: str
    up_to_uri: str
    listed: Sequence[str]
    began_at: datetime


def missing_uris(connection: Connection, stretch: Stretch, *, most: int) -> list[str]:
    """The first `most` videos, in the order of their keys, that a stretch should contain and does not."""
    parameters = {"most": most, **{name: getattr(stretch, name) for name in stretch.__slots__}}
    return list(connection.execute(statement("missing"), parameters).scalars())


def mark_gone(connection: Connection, uris: Sequence[str], *, began_at: datetime) -> int:
    """Mark the videos of these keys gone. Returns how many were not marked before."""
    return connection.execute(statement("mark_gone"), {"uris": list(uris), "began_at": began_at}).rowcount


def has_videos(connection: Connection, uri_prefix: str) -> bool:
    """Whether a prefix has current videos."""
    return bool(connection.execute(statement("has_videos"), {"uri_prefix": uri_prefix}).scalar_one())


def _needing_work(
    connection: Connection, items: Sequence[StoredObject], *, recipe_id: int, as_of: datetime | None
) -> Sequence[Row[Any]]:
    archived = [item.archived for item in sorted(items, key=lambda item: item.uri)]
    parameters = {"recipe_id": recipe_id, "as_of": as_of, "archived": archived, **_columns(items)}
    return connection.execute(statement("page_needs_work"), parameters).all()


def _columns(items: Iterable[StoredObject | Row[Any]]) -> dict[str, list[Any]]:
    rows = sorted(items, key=lambda item: item.uri)
    return {
        "uris": [row.uri for row in rows],
        "etags": [row.etag for row in rows],
        "sizes": [row.size_bytes for row in rows],
        "modified": [row.modified_at for row in rows],
    }
