"""The flow that takes up again, hourly, what failed for reasons that may have passed: a storage away, a full disk.

A night tries a video some times within minutes, and gives up on it. Here it gets more chances, ever further apart,
under the recipe that it failed under: what nights ask may have changed since, and what was asked is still wanted.
"""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.analyze_videos import analyze_videos
from nightreel.options import AnalyzeOptions, RetryOptions
from tasks.retry import reopen


@flow(name="retry-failed", persist_result=False)
def retry_failed(options: RetryOptions = RetryOptions()) -> State:  # noqa: B008 - frozen
    """Put failed videos back that are due, and analyse them: a run for each recipe and source."""
    work = reopen(options.limit, options.max_reopened)
    if not work:
        return Completed(message="nothing is due to be taken up again")
    failures: list[str] = []
    for item in work:
        get_run_logger().info("%d videos of %s again, recipe %d", item.videos, item.source, item.recipe_id)
        again = AnalyzeOptions(recipe=item.recipe_id, source=item.source, listing=False, limit=item.videos)
        state = analyze_videos(again, return_state=True)
        if not state.is_completed():
            failures.append(f"recipe {item.recipe_id}, {item.source}: {state.message}")
    taken_up = f"{sum(item.videos for item in work)} videos taken up again in {len(work)} run{'s' * (len(work) > 1)}"
    if failures:
        return Failed(message=f"{taken_up}, of which {len(failures)} failed: {'; '.join(failures)}")
    return Completed(message=taken_up)
