"""Evict: the feature cache brought to a size, without a run. A flow and a command begin here."""

from __future__ import annotations

from collections.abc import Callable

from nightreel.cache.eviction import Eviction, evict
from nightreel.cache.features import FeatureCache
from nightreel.errors import SettingsError
from nightreel.settings import load_settings
from nightreel.stages.run import open_database
from nightreel.storage import open_storage

NO_LIMIT = "no_cache_limit"


def evict_cache(
    to_gib: float | None = None,
    *,
    dry_run: bool = False,
    on_progress: Callable[[Eviction], None] = lambda _: None,
) -> Eviction:
    """Evict from the configured cache until it holds at most `to_gib` GiB, or what the settings allow.

    Args:
        dry_run: change nothing; what is returned is what would happen.
        on_progress: called after each batch.

    Raises:
        SettingsError: `no_cache_limit`: neither says how much.
        TransientError: `eviction_elsewhere`.
    """
    settings = load_settings()
    limit_bytes = settings.cache_limit_bytes if to_gib is None else int(to_gib * 2**30)
    if to_gib is None and not limit_bytes:
        raise SettingsError(
            "no limit for the feature cache: give a size in GiB, or set NIGHTREEL_CACHE_LIMIT_GIB", reason=NO_LIMIT
        )
    cache = FeatureCache(open_storage(settings.cache_prefix, settings))
    with open_database(settings) as database:
        return evict(database, cache, limit_bytes=limit_bytes, dry_run=dry_run, on_progress=on_progress)
