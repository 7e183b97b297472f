"""The feature cache back to its limit: at the end of a run, and on its own."""

from __future__ import annotations

from nightreel.cache.eviction import Eviction
from nightreel.errors import SettingsError
from nightreel.orchestration.runtime import bench, task
from nightreel.stages.evict import NO_LIMIT, evict_cache


@task("make room")
def make_room(run_id: int) -> None:
    bench(run_id).make_room(at_once=True)


@task("evict")
def evict(to_gib: float | None) -> Eviction | None:
    """None where the cache has no limit: a schedule has nothing to do then."""
    try:
        return evict_cache(to_gib)
    except SettingsError as error:
        if error.reason == NO_LIMIT:
            return None
        raise
