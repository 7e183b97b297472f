"""Shrink the feature cache to its limit: at the end of a run, or in a flow of its own."""

from __future__ import annotations

from nightreel.cache.eviction import Eviction
from nightreel.errors import SettingsError
from nightreel.orchestration.runs import open_run_of
from nightreel.orchestration.task import task
from nightreel.reasons import Reason
from nightreel.settings import load_settings
from nightreel.stages import evict as stage


@task("make room")
def make_room(run_id: int) -> None:
    run = open_run_of(run_id)
    stage.make_room(run.cache_limit, run.recorder, now=True)


@task("evict")
def evict(to_gib: float | None) -> Eviction | None:
    """Evict features. Returns None if the cache has no limit: a scheduled run then has nothing to do."""
    try:
        return stage.evict_cache(load_settings(), to_gib)
    except SettingsError as error:
        if error.reason is Reason.NO_CACHE_LIMIT:
            return None
        raise
