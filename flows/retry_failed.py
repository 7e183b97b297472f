"""The flow that retries, hourly, videos that failed for a passing reason: unreachable storage, a full disk.

A night tries a video several times within minutes, then gives up. This flow tries it again at growing intervals, under
the recipe that it failed under: the recipe of nights may have changed since, but these answers are still wanted.
"""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.analyze_videos import analyze_videos
from nightreel.options import AnalyzeOptions, RetryOptions
from nightreel.orchestration.dead_flow_runs import note_process
from nightreel.orchestration.run_names import name_of_retry
from tasks.retry import reopen


@flow(name="retry-failed", flow_run_name=name_of_retry, persist_result=False, on_running=[note_process])
def retry_failed(options: RetryOptions = RetryOptions()) -> State:  # noqa: B008 - frozen
    """Put due failed videos back to pending, and analyse them: one run for each recipe and source."""
    work = reopen(options.limit, options.max_reopened)
    if not work:
        return Completed(message="no failed video is due for a retry")
    failures: list[str] = []
    for item in work:
        get_run_logger().info("retry %d videos of %s under recipe %d", item.videos, item.source, item.recipe_id)
        again = AnalyzeOptions(recipe=item.recipe_id, source=item.source, listing=False, limit=item.videos)
        state = analyze_videos(again, return_state=True)
        if not state.is_completed():
            failures.append(f"recipe {item.recipe_id}, {item.source}: {state.message}")
    taken_up = f"{sum(item.videos for item in work)} videos retried in {len(work)} run{'s' * (len(work) > 1)}"
    if failures:
        return Failed(message=f"{taken_up}, {len(failures)} failed: {'; '.join(failures)}")
    return Completed(message=taken_up)
