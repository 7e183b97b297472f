"""The flow that draws random samples of what the machine calls "no", as often as the settings say.

If it is killed at any point, its next run continues.
"""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from nightreel.options import AuditOptions
from nightreel.orchestration.dead_flow_runs import note_process
from nightreel.orchestration.run_names import name_of_audits
from tasks.audits import draw


@flow(name="draw-audits", flow_run_name=name_of_audits, persist_result=False, on_running=[note_process])
def draw_audits(options: AuditOptions = AuditOptions()) -> State:  # noqa: B008 - frozen
    """Draw the audits that are due. What nobody judged of the ones before leaves the queues."""
    done = draw(options)
    get_run_logger().info("%s", done)
    return Completed(message=str(done))
