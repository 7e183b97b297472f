"""The deployments of `deployments/prefect.yaml`, made out for the given pools.

`nightreel deploy` reads them here. This module knows Prefect's file format, and contacts no server.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from prefect.client.schemas.schedules import CronSchedule
from pydantic import ValidationError

from nightreel import __version__
from nightreel.errors import PermanentError, SettingsError
from nightreel.orchestration.part_runs import HELPERS, SHARDS
from nightreel.reasons import Reason

NIGHTLY = "nightly"
_SECRET = re.compile(
    r"password|passwd|secret|credential|(^|_)token$|(api|access|private)_?key|database_url|auth_string", re.IGNORECASE
)
_LOGIN = re.compile(r"://[^/\s:@]+:[^/\s@]+@")

_OF_EACH_POOL = (SHARDS, HELPERS)
"""Prefixes of the names of deployments that each pool has."""
_FLOWS_OF_A_SOURCE = ("analyze_videos", "sweep_videos")

Definition = dict[str, Any]
"""A deployment: an entry of the file."""


def shipped(name: str) -> Path:
    """A file of deployments/: from the checkout, or the copy in the wheel."""
    package = Path(__file__).resolve().parents[2]
    for directory in (package / "deployments", package.parent / "deployments"):
        if (directory / "prefect.yaml").is_file():
            return directory / name
    raise PermanentError(Reason.INSTALLATION, f"no deployments/prefect.yaml beside {package}: install nightreel again")


def load_definitions(path: Path) -> list[Definition]:
    """The deployments of a prefect.yaml, including the shared settings of the file.

    Raises:
        SettingsError: the file cannot be read, has no deployments or none for shards, or contains a value that looks
            like a secret.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: {error}: should be a prefect.yaml") from error
    entries = content.get("deployments") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and entry.get("name") for entry in entries):
        raise SettingsError(f"{path}: should have a list `deployments`, each with a name")
    names = [entry["name"] for entry in entries]
    if len(set(names)) < len(names):
        raise SettingsError(f"{path}: two deployments have the same name: {', '.join(sorted(names))}")
    of_pools = {prefix: sum(name.startswith(prefix) for name in names) for prefix in _OF_EACH_POOL}
    if of_pools[SHARDS] != 1:
        raise SettingsError(f"{path}: should have exactly one deployment named {SHARDS}<pool>, for shards")
    if of_pools[HELPERS] > 1:  # none: nights have no helpers
        raise SettingsError(f"{path}: should have at most one deployment named {HELPERS}<pool>, for helpers")
    shared = {name: content[name] for name in ("build", "push", "pull") if name in content}
    definitions = [{**shared, **entry} for entry in entries]
    for definition in definitions:
        _refuse_secrets(definition, path)
    return definitions


def make_out(
    definitions: Sequence[Definition], pools: Sequence[str], *, cron: str | None = None, time_zone: str | None = None
) -> list[Definition]:
    """The deployments for these pools: all for the first pool, only those of shards and helpers for the others.

    A deployment keeps its pool if that differs from the pool of the file's shards.

    Args:
        cron: when the night starts. time_zone: of all schedules.

    Raises:
        SettingsError: the cron expression or the time zone is not valid.
    """
    shards = next(definition for definition in definitions if definition["name"].startswith(SHARDS))
    home = _pool_of(shards)
    made = []
    for definition in definitions:
        prefix = next((one for one in _OF_EACH_POOL if definition["name"].startswith(one)), None)
        for pool in pools if prefix else pools[:1]:
            one = deepcopy(definition)
            if _pool_of(one) == home:
                one["work_pool"] = {**(one.get("work_pool") or {}), "name": pool}
            if prefix:
                one["name"] = prefix + pool
            for schedule in one.get("schedules") or []:
                if cron and one["name"] == NIGHTLY:
                    schedule["cron"] = cron
                if time_zone:
                    schedule["timezone"] = time_zone
                _check_schedule(schedule, one["name"])
            made.append(one)
    return made


def needs_source(name: str, entrypoint: str | None, parameters: Mapping[str, Any] | None) -> bool:
    """Whether runs of a deployment use the source of their worker's settings: nights and sweeps without their own."""
    if name.startswith(_OF_EACH_POOL) or (entrypoint or "").rpartition(".")[2] not in _FLOWS_OF_A_SOURCE:
        return False
    options = (parameters or {}).get("options")
    return not (isinstance(options, dict) and options.get("source"))


def stamp(definition: Definition, parameter_schema: Any) -> str:
    """The deployment's `version`: the same for the same definition, options and Nightreel version."""
    text = json.dumps([definition, parameter_schema], sort_keys=True, default=str)
    return f"{__version__}+{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _pool_of(definition: Definition) -> str | None:
    return (definition.get("work_pool") or {}).get("name")


def _check_schedule(schedule: dict[str, Any], name: str) -> None:
    if "cron" not in schedule:
        return
    cron, time_zone = schedule["cron"], schedule.get("timezone")
    try:
        CronSchedule(cron=cron, timezone=time_zone)
    except ValidationError as error:
        why = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
        raise SettingsError(
            f"{name}: cron {cron!r}, time zone {time_zone!r}: {why}. Expected e.g. '30 0 * * *' and Europe/Berlin"
        ) from error


def _refuse_secrets(definition: Definition, path: Path) -> None:
    """Refuse secrets in parameters and job variables: the server stores and shows these as plain text."""
    shown = {
        "parameters": definition.get("parameters"),
        "job_variables": (definition.get("work_pool") or {}).get("job_variables"),
    }
    for where, value in _leaves(shown):
        key = where.rpartition(".")[2]
        if _SECRET.search(key) or (isinstance(value, str) and _LOGIN.search(value)):
            raise SettingsError(
                f"{path}: {definition['name']}: {where} looks like a secret, and everyone with access to Prefect could "
                "read it: put it into the environment of the worker, or as a block into the pool's job template"
            )


def _leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        yield where, value
    for key, inner in items:
        yield from _leaves(inner, f"{where}.{key}".lstrip("."))
