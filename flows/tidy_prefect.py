"""The flow that deletes old runs of Nightreel from Prefect, with their task runs, logs and artifacts.

If it is killed at any point, its next run continues.
"""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from nightreel.options import TidyOptions
from nightreel.orchestration.dead_flow_runs import note_process
from nightreel.orchestration.run_names import name_of_tidying
from tasks.tidy import tidy


@flow(name="tidy-prefect", flow_run_name=name_of_tidying, persist_result=False, on_running=[note_process])
def tidy_prefect(options: TidyOptions = TidyOptions()) -> State:  # noqa: B008 - frozen
    """Delete the runs that ended before the age of the settings. Runs that have not ended stay."""
    done = tidy(options.keep_days)
    if done is None:
        return Completed(message="nothing deleted: NIGHTREEL_PREFECT_KEEP_DAYS is 0")
    get_run_logger().info("%s", done)
    return Completed(message=str(done))
