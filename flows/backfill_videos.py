"""The flow that works backfills off: plans one and begins it, or goes on with those there are.

It is short and runs every few minutes: the work is done by its children, runs of `analyze_videos` that have a shard
each. Killed at any point, the next one goes on.
"""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from nightreel.options import BackfillOptions
from tasks.backfill import estimate_backfill, submit_shards


@flow(name="backfill-videos", persist_result=False)
def backfill_videos(options: BackfillOptions = BackfillOptions()) -> State:  # noqa: B008 - frozen
    """Say what a backfill would do and cost; begin it where it is accepted; hand shards to the workers."""
    begun = ""
    if options.videos:
        plan, backfill_id = estimate_backfill(options)
        create_markdown_artifact(plan.markdown(), key="backfill-plan", description=plan.headline)
        if backfill_id is None:
            return Completed(message=f"planned, not begun: {plan.headline}")
        begun = f"backfill {backfill_id}: {plan.headline}; "
    done = f"{begun}{submit_shards(linked=True)}"
    get_run_logger().info("%s", done)
    return Completed(message=done)
