"""The flow that lists a source in full, weekly. Overwritten videos become work again; missing ones are marked gone.

Nights find new and changed objects. Only a sweep finds that the object of a video is gone.
"""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from nightreel.options import AnalyzeOptions, SweepOptions
from nightreel.orchestration.lost_server import publish
from nightreel.orchestration.run_names import name_of_sweep
from nightreel.orchestration.runs import open_run, server_of, show_progress
from nightreel.stages.run_report import run_report
from nightreel.stages.summary import SweepSummary
from tasks.sweep import sweep


@flow(name="sweep-videos", flow_run_name=name_of_sweep, persist_result=False)
def sweep_videos(options: SweepOptions = SweepOptions()) -> State:  # noqa: B008 - frozen
    """Find the videos of a source that were overwritten, are gone, or are back. Analyse none."""
    with open_run(AnalyzeOptions(source=options.source, since=options.since, until=options.until)) as run:
        summary, server = run.summary(SweepSummary), server_of(run.id)
        get_run_logger().info("run %d: sweep of %s", run.id, run.source)
        exhausted = False
        while not exhausted:
            summary.server_silent_s = server.silent_s
            if summary.stopped:
                break
            swept = sweep(run.id, options.may_be_empty)
            summary.listing += swept.counts
            exhausted = swept.exhausted
            get_run_logger().info("run %d: %s", run.id, summary.headline)
            show_progress(summary)
        run.finish(summary)
        publish(server, run_report(summary), key="sweep-videos", description=summary.headline)
    if summary.health.red:
        return Failed(message=f"{summary.health.red}: {summary.headline}")
    return Completed(message=summary.headline)
