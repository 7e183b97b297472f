"""Evict: bring the feature cache to its limit, during a run, or alone by a flow or a command."""

from __future__ import annotations

from collections.abc import Callable

from nightreel.cache.eviction import CacheLimit, Eviction, evict
from nightreel.errors import SettingsError
from nightreel.reasons import Reason
from nightreel.settings import Settings
from nightreel.stages.cache import open_cache
from nightreel.stages.database import open_database
from nightreel.stages.recorder import RunRecorder


def make_room(limit: CacheLimit, recorder: RunRecorder, *, now: bool = False) -> None:
    """Keep the feature cache to its limit: before a chunk is encoded, and at the end of a run.

    Args:
        now: add up the whole cache even if it is not due.
    """
    if not limit.is_set:
        return
    with recorder.stage("evict"):
        evicted = limit.make_room(now=now)
    if evicted.features:
        recorder.count("evicted_features", evicted.features)


def evict_cache(
    settings: Settings,
    to_gib: float | None = None,
    *,
    dry_run: bool = False,
    on_progress: Callable[[Eviction], None] = lambda _: None,
) -> Eviction:
    """Evict from the configured cache until it holds at most `to_gib` GiB, or the limit of the settings.

    Args:
        dry_run: change nothing, and return what would happen.
        on_progress: called after each batch.

    Raises:
        SettingsError: `no_cache_limit`: neither the argument nor the settings give a size.
        TransientError: `eviction_elsewhere`.
    """
    limit_bytes = settings.cache_limit_bytes if to_gib is None else int(to_gib * 2**30)
    if to_gib is None and not limit_bytes:
        raise SettingsError(
            "the feature cache has no limit: pass a size in GiB, or set NIGHTREEL_CACHE_LIMIT_GIB",
            reason=Reason.NO_CACHE_LIMIT,
        )
    with open_database(settings) as database:
        cache = open_cache(settings, database)
        return evict(database, cache, limit_bytes=limit_bytes, dry_run=dry_run, on_progress=on_progress)
