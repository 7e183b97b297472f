"""Claims: which run works on which video, and how long. One run for each video, across any number of machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, TextClause, case, func, select, text, update
from sqlalchemy.exc import IntegrityError

from nightreel.database import schema
from nightreel.database.recipes import Recipe
from nightreel.database.statements import statement
from nightreel.domain import Claim, Video
from nightreel.domain.chunks import KNOWN_SHARE, most_segments

_analyses = schema.analyses


class ClaimOrder(StrEnum):
    """The order in which videos are claimed: by their keys, or by the age of their objects."""

    KEY = "key"
    NEWEST = "newest"


_ORDERS = {
    ClaimOrder.KEY: {"order": "analysis.uri", "among": "true"},
    ClaimOrder.NEWEST: {
        "order": "analysis.modified_at DESC, analysis.uri",
        "among": "analysis.modified_at IS NOT NULL",  # as in analyses_pending_newest_idx
    },
}


@dataclass(frozen=True, slots=True)
class Selection:
    """The videos that a run may take.

    Args:
        uri_prefix: prefix of their keys. since, until: modified at or after `since` and before `until`.
        after_uri, up_to_uri: keys after `after_uri`, up to and including `up_to_uri`, in byte order.
        only: these keys, and keys with these prefixes, which end with a slash; None: all keys.
    """

    uri_prefix: str
    since: datetime | None = None
    until: datetime | None = None
    after_uri: str | None = None
    up_to_uri: str | None = None
    only: tuple[str, ...] | None = None

    @property
    def named(self) -> frozenset[str]:
        """The keys of single objects in `only`."""
        return frozenset(uri for uri in self.only or () if not uri.endswith("/"))

    def parameters(self) -> dict[str, object]:
        """Parameters of the statements, by name."""
        values = {name: getattr(self, name) for name in self.__slots__ if name != "only"}
        some = self.only is not None
        prefixes = [uri for uri in self.only or () if uri.endswith("/")]
        return values | {"only_uris": sorted(self.named) if some else None, "only_prefixes": prefixes if some else None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """The unfinished videos of a selection.

    Args:
        pending: videos to claim, now or later.
        next_in_s: seconds until the first pending one may be claimed; None if there is none.
        elsewhere: videos that other runs hold. holders: the ids of these runs.
    """

    pending: int
    next_in_s: float | None
    elsewhere: int
    holders: tuple[int, ...] = ()


def claim_statement(order: ClaimOrder = ClaimOrder.KEY) -> TextClause:
    return statement("claim", **_ORDERS[order])


def claim(
    connection: Connection,
    *,
    recipe: Recipe,
    run_id: int,
    selection: Selection,
    chunk_segments: int,
    lease_s: float,
    small_bytes: int = 0,
    max_videos: int | None = None,
    order: ClaimOrder = ClaimOrder.KEY,
) -> list[Claim]:
    """Claim the first videos in this order, with about `chunk_segments` segments; at least one if any is free.

    Segments with small features in the cache count as a part of one (`domain.chunks`). Suspects are not among the
    videos: see `claim_suspect`.

    Args:
        small_bytes: see `domain.chunks`.
        max_videos: None: as many as `chunk_segments`.

    Returns:
        The claims, in the order of their keys.
    """
    rows = connection.execute(
        claim_statement(order),
        {
            "recipe_id": recipe.id,
            "run_id": run_id,
            "window_s": recipe.plan.window_s,
            "chunk_segments": chunk_segments,
            "max_videos": chunk_segments if max_videos is None else max_videos,
            "model_id": recipe.model_id,
            "plan": str(recipe.plan),
            "known_share": KNOWN_SHARE,
            "small_bytes": small_bytes,
            "lease_s": lease_s,
            **selection.parameters(),
        },
    )
    return sorted((_claim(row, known=row.known) for row in rows), key=lambda claim: claim.video.uri)


def claim_suspect(
    connection: Connection, *, recipe: Recipe, run_id: int, selection: Selection, lease_s: float
) -> list[Claim]:
    """Claim one video that an earlier run held when it died; none if no such video is free.

    The run must hold no other claim until the video is written: if it dies too, this video is charged with the crash.
    """
    rows = connection.execute(
        statement("claim_suspect"),
        {"recipe_id": recipe.id, "run_id": run_id, "lease_s": lease_s, **selection.parameters()},
    )
    return [_claim(row, alone=True) for row in rows]


def suspect_is_free(connection: Connection, *, recipe: Recipe, selection: Selection) -> bool:
    """Whether `claim_suspect` would probably claim a video: one below the prefix of the selection waits."""
    waiting = select(_analyses.c.id).where(
        _analyses.c.recipe_id == recipe.id,
        _analyses.c.status == "pending",
        _analyses.c.suspect,
        _analyses.c.not_before <= func.now(),
        func.starts_with(_analyses.c.uri, selection.uri_prefix),
    )
    return bool(connection.execute(select(waiting.exists())).scalar_one())


def _claim(row: Row[Any], *, alone: bool = False, known: bool = False) -> Claim:
    return Claim(
        analysis_id=row.analysis_id,
        attempt=row.attempts,
        failed_before=row.failed_before,
        video=Video(id=row.video_id, uri=row.uri, etag=row.etag, size_bytes=row.size_bytes),
        alone=alone,
        known=known,
    )


class ClaimsInOrder:
    """The claims of one run. By key, each starts after the last key of the one before.

    Finished work leaves dead entries in the index of pending work, until a vacuum that no open transaction prevents.
    Claims that always started at the first key would step over all these entries. Work that was deferred or given back
    is found when no key ahead has any: then the claims start at the first key again.

    A claim considers as many videos as it takes if they are like those of the claim before. It locks all that it
    considers, and other runs step over them.

    Args:
        small_bytes: see `domain.chunks`.
        first: prefixes of keys whose videos come before all others.
        order: of the videos of a prefix, and of all others.
    """

    def __init__(
        self,
        selection: Selection,
        *,
        recipe: Recipe,
        run_id: int,
        chunk_segments: int,
        lease_s: float,
        small_bytes: int = 0,
        first: Sequence[str] = (),
        order: ClaimOrder = ClaimOrder.KEY,
    ) -> None:
        self._selection = selection
        self._in_order = [*(replace(selection, uri_prefix=prefix) for prefix in first), selection]
        self._ahead = list(self._in_order)
        self._what: dict[str, Any] = {
            "recipe": recipe,
            "run_id": run_id,
            "chunk_segments": chunk_segments,
            "small_bytes": small_bytes,
            "lease_s": lease_s,
        }
        self._order = order
        self._are_known = True  # all videos of the last claim

    def next(self, connection: Connection, max_videos: int | None = None) -> list[Claim]:
        """The claims of the next chunk; empty if nothing is free."""
        for place, selection in enumerate(self._in_order):
            ahead = self._ahead[place]
            claims = self._claim(connection, ahead, max_videos)
            if not claims and ahead != selection:
                claims = self._claim(connection, selection, max_videos)
            if self._order is ClaimOrder.KEY:
                self._ahead[place] = replace(selection, after_uri=claims[-1].video.uri) if claims else selection
            if claims:
                return claims
        return []

    def suspect_is_free(self, connection: Connection) -> bool:
        return suspect_is_free(connection, recipe=self._what["recipe"], selection=self._selection)

    def next_suspect(self, connection: Connection) -> list[Claim]:
        """The claim of one suspect, see `claim_suspect`."""
        what = {name: self._what[name] for name in ("recipe", "run_id", "lease_s")}
        return claim_suspect(connection, selection=self._selection, **what)

    def _claim(self, connection: Connection, selection: Selection, max_videos: int | None) -> list[Claim]:
        chunk = self._what["chunk_segments"]
        most = most_segments(chunk) if self._are_known else chunk
        videos = most if max_videos is None else min(max_videos, most)
        claims = claim(connection, selection=selection, max_videos=videos, order=self._order, **self._what)
        self._are_known = all(claim.known for claim in claims)
        return claims


def renew_claims(connection: Connection, *, run_id: int, lease_s: float) -> int:
    """Extend every claim of a run. Returns their number."""
    return connection.execute(
        update(_analyses)
        .where(_analyses.c.run_id == run_id, _analyses.c.status == "claimed")
        .values(lease_expires_at=func.now() + text("make_interval(secs => :lease_s)").bindparams(lease_s=lease_s))
    ).rowcount


def release_claims(connection: Connection, *, run_id: int | None) -> int:
    """Release the claims of a run that ended; if `run_id` is None, the claims that ran out. No video is charged.

    Returns:
        The number of released claims.
    """
    return connection.execute(statement("release_claims"), {"run_id": run_id}).rowcount


def blame(connection: Connection, *, run_id: int, max_crashes: int, charged: bool = True) -> int:
    """Release the claims of a run that died. Its videos are suspects, and the only one is charged with a crash.

    Args:
        max_crashes: crashes after which a video is quarantined.
        charged: False if something else is known to have ended the run.

    Returns:
        The number of released claims.
    """
    parameters = {"run_id": run_id, "max_crashes": max_crashes, "charged": charged}
    return connection.execute(statement("blame"), parameters).rowcount


def take_contents(connection: Connection, contents: Mapping[int, str]) -> bool:
    """Record the hashes of claimed videos' bytes, by analysis.

    Returns:
        False if another current claim under the same recipe has the same bytes as one of them: wait for its answers.
        None is recorded then.
    """
    hashes = case(dict(contents), value=_analyses.c.id)
    try:
        with connection.begin_nested():
            connection.execute(
                update(_analyses)
                .where(_analyses.c.id.in_(contents), _analyses.c.status == "claimed")
                .values(content_sha256=hashes)
            )
    except IntegrityError:
        return False
    return True


def remaining(connection: Connection, *, recipe: Recipe, run_id: int, selection: Selection) -> Remaining:
    row = connection.execute(
        statement("remaining"), {"recipe_id": recipe.id, "run_id": run_id, **selection.parameters()}
    ).one()
    return Remaining(
        pending=row.pending, next_in_s=row.next_in_s, elsewhere=row.elsewhere, holders=tuple(row.holders or ())
    )


def lock_own(connection: Connection, *, run_id: int, analysis_ids: list[int]) -> dict[int, int]:
    """Lock the given analyses that this run still holds.

    Returns:
        Video id by analysis id. This run lost the missing ones when their claims ran out.
    """
    rows = connection.execute(
        select(_analyses.c.id, _analyses.c.video_id)
        .where(_analyses.c.id.in_(analysis_ids), _analyses.c.run_id == run_id, _analyses.c.status == "claimed")
        .order_by(_analyses.c.id)
        .with_for_update()
    )
    return {row.id: row.video_id for row in rows}
