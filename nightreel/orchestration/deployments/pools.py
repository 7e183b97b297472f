"""Work pools and their queues. An operator's changes to a pool stay, except for the priorities of its queues."""

from __future__ import annotations

import json
import logging
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from nightreel.errors import SettingsError
from nightreel.orchestration.deployments.definitions import shipped
from nightreel.orchestration.deployments.differences import differences
from nightreel.orchestration.nights import NIGHTS

PoolType = Literal["process", "kubernetes"]
UPKEEP = "upkeep"
"""The queue of runs that need no device: workers reserve slots for it."""
HELPERS, BACKFILL = "helpers", "backfill"
QUEUES = {NIGHTS: 1, HELPERS: 2, "retries": 4, UPKEEP: 5, BACKFILL: 10}
"""A pool's queues with their priorities: the lowest number goes first."""
logger = logging.getLogger("nightreel.deploy")
_COMMAND = "python3 -m nightreel.orchestration.flow_run_program"  # `nightreel worker` sets PATH for it
_DESCRIPTION = "Machines of one kind that run Nightreel. Made by `nightreel deploy`."


def read_template(path: Path) -> dict[str, Any]:
    """Read a base job template.

    Raises:
        SettingsError: the file is not a base job template.
    """
    try:
        template = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}: should be a base job template in JSON") from error
    if not isinstance(template, dict) or not {"job_configuration", "variables"} <= set(template):
        raise SettingsError(f"{path}: should be a base job template, with job_configuration and variables")
    return template


def default_template(kind: PoolType) -> dict[str, Any]:
    """The base job template of a new pool.

    In a process pool, runs work in the directory where their worker was started. By default Prefect makes a new
    directory for each run, and a relative path in a setting would not be found.
    """
    if kind == "kubernetes":
        return read_template(shipped("kubernetes-job-template.json"))
    template = ProcessWorker.get_default_base_job_template()
    template["variables"]["properties"]["working_dir"]["default"] = "."
    return _with_command(template)


def _with_command(template: dict[str, Any]) -> dict[str, Any]:
    """This template of a process pool, with the command of runs, unless somebody set one or removed the variable."""
    template = deepcopy(template)
    command = template["variables"].get("properties", {}).get("command")
    if command is not None and command.get("default") is None:
        command["default"] = _COMMAND
    return template


def register_pool(
    client: SyncPrefectClient, name: str, *, kind: PoolType | None = None, template: dict[str, Any] | None = None
) -> list[str]:
    """Make the pool and its queues if they are missing.

    Args:
        kind: type of a new pool; None: process. An existing pool keeps its type.
        template: the pool's job template; None: the default for a new pool, and no change to an existing one, except
            that runs of a process pool get a command.
    """
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(
            WorkPoolCreate(
                name=name,
                type=kind or "process",
                description=_DESCRIPTION,
                base_job_template=template or default_template(kind or "process"),
            )
        )
        return [f"made work pool {name} ({kind or 'process'})", *_register_queues(client, name)]
    changes = []
    if kind and pool.type != kind:
        logger.warning("work pool %s keeps its type %s: delete it first, or use another name", name, pool.type)
    if template is None and pool.type == "process":
        template = _with_command(pool.base_job_template)  # a pool of an earlier version has none
    if template is not None and template != pool.base_job_template:
        client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
        changes.append(f"changed the job template of work pool {name}: {differences(pool.base_job_template, template)}")
    return changes + _register_queues(client, name)


def _register_queues(client: SyncPrefectClient, pool: str) -> list[str]:
    changes = []
    for name, priority in QUEUES.items():
        found = {queue.name: queue for queue in client.read_work_queues(work_pool_name=pool)}
        if name not in found:
            client.create_work_queue(name=name, work_pool_name=pool, priority=priority)
            changes.append(f"made queue {name} of {pool}, priority {priority}")
        elif found[name].priority != priority:
            client.update_work_queue(found[name].id, priority=priority)
            changes.append(f"changed queue {name} of {pool}: priority {found[name].priority} → {priority}")
    return changes
