"""The end of a run whose Prefect server is gone: without the minutes of retries and the traceback of Prefect's engine.

`runs` calls it when everything that the run held is given back, and its row in Postgres says how it ended. The next run
reports that to Prefect (`dead_flow_runs`).
"""

from __future__ import annotations

import logging
import math
import os
import sys
from contextlib import AbstractContextManager
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext, SyncClientContext
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from nightreel.orchestration.server_watch import ServerWatch

_AFTER_CTRL_C_S = 3.0
_LAST_REQUESTS_S = 1.0  # of Prefect's engine, which tries twice to report the end of the flow run
_kept: list[AbstractContextManager[Any]] = []  # a context that is garbage-collected ends


def publish(server: ServerWatch, markdown: str, *, key: str, description: str) -> None:
    """Create the artifact of a run, if the server responds."""
    if not server.silent_s:
        with server.informing("the report of the run"):
            create_markdown_artifact(markdown, key=key, description=description)


def leave_without_server(
    server: ServerWatch, _: object, error: BaseException | None, __: object, *, in_command: bool
) -> None:
    """Wait for a server that does not respond; if it is gone, end a worker's run with one sentence.

    The wait is short if a person interrupted the run.

    In a command, Prefect's engine fails at its next requests within seconds, not after minutes, and the command says
    why.
    """
    if not server.settle(_AFTER_CTRL_C_S if isinstance(error, KeyboardInterrupt) else math.inf):
        return
    logging.raiseExceptions = False  # Prefect prints a traceback for each batch of log records that it cannot send
    if not in_command and _has_own_process():
        why = f": {error}" if error else ""
        said = f"the run ended without its Prefect server, which has not responded for {server.silent_s:.0f} s{why}"
        print(f"error: {said}", file=sys.stderr, flush=True)  # noqa: T201 - the log of the worker
        os._exit(1)
    hurry = temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_LOGGING_TO_API_ENABLED: False})
    hurry.__enter__()
    _kept.append(hurry)
    if engine := SyncClientContext.get():
        engine.client._client.timeout = _LAST_REQUESTS_S  # Prefect has no setting for a client that exists


def _has_own_process() -> bool:
    """Whether a worker started the process of this flow run, or of its parent."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return run is not None and (run.deployment_id is not None or run.parent_task_run_id is not None)
