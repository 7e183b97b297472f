"""The flow that erases videos which are older than the settings allow, or whose objects have been gone for too long.

If it is killed at any point, its next run continues.
"""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from nightreel.options import RetentionOptions
from nightreel.orchestration.dead_flow_runs import note_process
from nightreel.orchestration.run_names import name_of_retention
from tasks.retention import retire


@flow(name="retention", flow_run_name=name_of_retention, persist_result=False, on_running=[note_process])
def apply_retention(options: RetentionOptions = RetentionOptions()) -> State:  # noqa: B008 - frozen
    """Erase what is too old. Videos under a legal hold stay."""
    done = retire(options)
    get_run_logger().info("%s", done)
    return Completed(message=str(done))
