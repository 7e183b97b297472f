"""The flow that carries out what people asked for in the console: retries, changes of backfills, new thresholds.

If it is killed at any point, its next run continues.
"""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from nightreel.options import RequestOptions
from nightreel.orchestration.dead_flow_runs import note_process
from nightreel.orchestration.run_names import name_of_requests
from tasks.requests import carry_out


@flow(name="carry-out-requests", flow_run_name=name_of_requests, persist_result=False, on_running=[note_process])
def carry_out_requests(options: RequestOptions = RequestOptions()) -> State:  # noqa: B008 - frozen
    """Carry out the requests that wait. One that cannot be carried out keeps the reason."""
    done = carry_out(options.most_s)
    get_run_logger().info("%s", done)
    return Completed(message=str(done))
