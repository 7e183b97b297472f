"""Finds the deployments on the server that differ from their definitions, and runs Prefect's own `deploy` for those.

A stamp in each deployment's version identifies its definition. A deployment with the current stamp is left alone, so
that an operator's changes stay until the definition changes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow

from nightreel.errors import PermanentError, SettingsError
from nightreel.orchestration.deployments.definitions import Definition, stamp
from nightreel.orchestration.deployments.differences import deployment_differences
from nightreel.orchestration.prefect_program import run_prefect
from nightreel.reasons import Reason

_FORM = "a flow of an installed module, as flows.analyze_videos.analyze_videos"


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A deployment's definition, and the deployment on the server."""

    full_name: str
    definition: Definition
    found: DeploymentResponse | None

    @property
    def is_current(self) -> bool:
        """Whether the deployment matches its definition and has a queue.

        It loses its queue when the queue or its pool is deleted, and would never run again.
        """
        return (
            self.found is not None
            and self.found.version == self.definition["version"]
            and self.found.work_queue_id is not None
        )


def compare(client: SyncPrefectClient, definitions: Sequence[Definition]) -> list[Registration]:
    """Look up each definition on the server. Imports the flows.

    Raises:
        SettingsError: an entrypoint is not a flow of an installed module.
    """
    return [_look_up(client, definition) for definition in definitions]


def register_deployments(registrations: Sequence[Registration], environment: Mapping[str, str]) -> list[str]:
    """Make or change those that are not current.

    Args:
        environment: for Prefect's command; it names the server.

    Raises:
        PermanentError: `deploy_failed`, with Prefect's output.
    """
    due = [registration for registration in registrations if not registration.is_current]
    if due:
        with _prefect_file([_as_found(registration) for registration in due]) as path:
            # Not in the current directory, which may contain a folder with the name of one of our packages.
            code, output = run_prefect(
                ["deploy", "--all", "--prefect-file", str(path)], environment=environment, cwd=path.parent
            )
        if code:
            raise PermanentError(Reason.DEPLOY_FAILED, f"`prefect deploy` ended with {code}:\n{output.strip()[-2000:]}")
    return [
        f"changed deployment {one.full_name}: {deployment_differences(one.found, one.definition)}"
        if one.found
        else f"made deployment {one.full_name}"
        for one in due
    ]


def require_current(registrations: Sequence[Registration]) -> None:
    """Raises PermanentError `deploy_failed` if one is not current: Prefect skips definitions that it cannot read."""
    late = [one.full_name for one in registrations if not one.is_current]
    if late:
        raise PermanentError(
            Reason.DEPLOY_FAILED, f"`prefect deploy` skipped {', '.join(late)}: check their definitions"
        )


def _look_up(client: SyncPrefectClient, definition: Definition) -> Registration:
    flow = _load_flow(definition)
    plain = {key: value for key, value in definition.items() if key not in ("version", "version_type")}
    # Set the version type: Prefect would otherwise look for a git repository around the file.
    stamped = {**plain, "version": stamp(plain, flow.parameters.model_dump()), "version_type": "prefect:simple"}
    full_name = f"{flow.name}/{definition['name']}"
    try:
        found = client.read_deployment_by_name(full_name)
    except ObjectNotFound:
        found = None
    return Registration(full_name=full_name, definition=stamped, found=found)


def _load_flow(definition: Definition) -> Flow[..., Any]:
    entrypoint = str(definition.get("entrypoint"))
    module, _, name = entrypoint.rpartition(".")
    try:
        flow = getattr(import_module(module or entrypoint), name)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"{definition['name']}: entrypoint {entrypoint!r}: {error}. Expected {_FORM}") from error
    if not isinstance(flow, Flow):
        raise SettingsError(f"{definition['name']}: entrypoint {entrypoint!r} is not a flow. Expected {_FORM}")
    return flow


def _as_found(registration: Registration) -> Definition:
    """The definition, with the paused state of the deployment and its schedules."""
    found, definition = registration.found, registration.definition
    if found is None:
        return definition
    active = {schedule.slug: schedule.active for schedule in found.schedules if schedule.slug}
    schedules = [
        {**schedule, "active": active[schedule["slug"]]} if schedule.get("slug") in active else schedule
        for schedule in definition.get("schedules") or []
    ]
    return {**definition, "paused": found.paused} | ({"schedules": schedules} if schedules else {})


@contextmanager
def _prefect_file(definitions: Sequence[Definition]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nightreel-deploy-") as directory:
        path = Path(directory) / "prefect.yaml"
        path.write_text(yaml.safe_dump({"deployments": list(definitions)}, sort_keys=False), encoding="utf-8")
        yield path
