"""The flow of backfills: it estimates and starts a new backfill, or continues the running ones.

It is short and runs every few minutes. Its child runs do the work: each is a run of `analyze_videos` with one shard.
If it is killed at any point, its next run continues.
"""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from nightreel.options import BackfillOptions
from nightreel.orchestration.dead_flow_runs import note_process
from nightreel.orchestration.run_names import name_of_dispatch
from nightreel.stages.backfill_report import headline, markdown
from tasks.backfill import estimate_backfill, submit_shards


@flow(name="backfill-videos", flow_run_name=name_of_dispatch, persist_result=False, on_running=[note_process])
def backfill_videos(options: BackfillOptions = BackfillOptions()) -> State:  # noqa: B008 - frozen
    """Estimate a backfill, start it if it is accepted, and submit shards to the workers."""
    started = ""
    if options.videos:
        estimate, backfill_id = estimate_backfill(options)
        size = headline(estimate)
        create_markdown_artifact(markdown(estimate), key="backfill-plan", description=size)
        if backfill_id is None:
            return Completed(message=f"estimated, not started: {size}")
        started = f"backfill {backfill_id}: {size}; "
    message = f"{started}{submit_shards(linked=True)}"
    get_run_logger().info("%s", message)
    return Completed(message=message)
