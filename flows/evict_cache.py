"""The flow that shrinks the feature cache to its limit outside of runs: on a schedule, or after the limit was lowered.

Runs evict too.
"""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from nightreel.options import EvictOptions
from nightreel.orchestration.dead_flow_runs import note_process
from nightreel.orchestration.run_names import name_of_eviction
from tasks.evict import evict


@flow(name="evict-cache", flow_run_name=name_of_eviction, persist_result=False, on_running=[note_process])
def evict_cache(options: EvictOptions = EvictOptions()) -> State:  # noqa: B008 - frozen
    """Delete the least recently used features that no work needs, until the cache is within its limit."""
    done = evict(options.to_gib)
    if done is None:
        return Completed(message="nothing evicted: the cache has no limit; set NIGHTREEL_CACHE_LIMIT_GIB")
    get_run_logger().info("%s", done)
    if done.reached:
        return Completed(message=str(done))
    return Failed(message=f"{done}: pending and running work needs the rest")
