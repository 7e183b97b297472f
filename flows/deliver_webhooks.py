"""The flow that sends the events of the outbox to their webhooks.

If it is killed at any point, its next run continues.
"""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from nightreel.options import DeliverOptions
from nightreel.orchestration.dead_flow_runs import note_process
from nightreel.orchestration.run_names import name_of_delivery
from tasks.deliver import deliver


@flow(name="deliver-webhooks", flow_run_name=name_of_delivery, persist_result=False, on_running=[note_process])
def deliver_webhooks(options: DeliverOptions = DeliverOptions()) -> State:  # noqa: B008 - frozen
    """Send what is due. A receiver that fails gets its events again later; dead ones are in the metrics."""
    done = deliver(options.most_s)
    get_run_logger().info("%s", done)
    return Completed(message=str(done))
