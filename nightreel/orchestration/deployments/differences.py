"""What changes when an object of the Prefect server is updated: old → new, value by value.

The other modules of this package put it into their sentences. Values come from the server, so they are shortened; the
command line escapes their controls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prefect.client.schemas.responses import DeploymentResponse

from nightreel.orchestration.deployments.definitions import Definition

_LONGEST = 60
_SHOWN = 6
_Missing = object()


def differences(old: Any, new: Any) -> str:
    """The values that differ, as one text; empty if none does.

    >>> differences({"cron": "30 0 * * *", "tags": ["a"]}, {"cron": "0 1 * * *", "tags": ["a"]})
    'cron 30 0 * * * → 0 1 * * *'
    >>> differences({"limit": {"most": 1}}, {"limit": {}, "pool": "gpu"})
    'limit.most 1 → nothing, pool nothing → gpu'
    """
    before, after = dict(_leaves(old)), dict(_leaves(new))
    names = [name for name in {**before, **after} if before.get(name, _Missing) != after.get(name, _Missing)]
    told = [f"{name} {_shown(before, name)} → {_shown(after, name)}" for name in names]
    return ", ".join([*told[:_SHOWN], *([f"and {len(told) - _SHOWN} more"] if len(told) > _SHOWN else [])])


def deployment_differences(found: DeploymentResponse, definition: Definition) -> str:
    """What an update to this definition changes of a deployment: its version, if nothing else that people set."""
    pool = definition.get("work_pool") or {}
    limit = definition.get("concurrency_limit")
    limit = limit.get("limit") if isinstance(limit, dict) else limit
    at_once = found.global_concurrency_limit
    old = {
        "schedule": {one.slug or str(one.id): _times(one.schedule.model_dump()) for one in found.schedules},
        "pool": found.work_pool_name,
        "queue": found.work_queue_name,
        "runs at once": at_once.limit if at_once else None,
        "parameters": found.parameters,
        "job variables": found.job_variables,
        "tags": sorted(found.tags),
        "entrypoint": found.entrypoint,
        "description": _line(found.description),
    }
    new = {
        "schedule": {one.get("slug") or "new": _times(one) for one in definition.get("schedules") or []},
        "pool": pool.get("name"),
        "queue": pool.get("work_queue_name"),
        "runs at once": limit,
        "parameters": definition.get("parameters") or {},
        "job variables": pool.get("job_variables") or {},
        "tags": sorted(definition.get("tags") or []),
        "entrypoint": definition.get("entrypoint"),
        "description": _line(definition.get("description")),
    }
    return differences(old, new) or differences({"version": found.version}, {"version": definition["version"]})


def _times(schedule: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: schedule[name] for name in ("cron", "rrule", "interval", "timezone") if schedule.get(name) is not None
    }


def _line(text: str | None) -> str:
    return " ".join((text or "").split())


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    items: Any = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        if value is not None:
            yield name, value
        return
    for key, inner in items:
        yield from _leaves(inner, f"{name}.{key}".lstrip("."))


def _shown(values: Mapping[str, Any], name: str) -> str:
    text = str(values[name]) if name in values else "nothing"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
