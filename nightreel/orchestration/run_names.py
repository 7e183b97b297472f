"""Names of flow runs: what a run is, and when or of which folder: "night 2026-11-26", "analyze clips", "retry clips".

Prefect calls these functions when a flow run starts, and its UI shows the names instead of invented ones. The first
word is the kind of the run; Postgres stores the name too. Times are those of this host.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from prefect.context import FlowRunContext

from nightreel.errors import SettingsError
from nightreel.logs import escape_controls
from nightreel.orchestration.runs import caller
from nightreel.settings import load_settings

_LONGEST = 80
_DAY, _MINUTE = "%Y-%m-%d", "%Y-%m-%d %H:%M"


def name_of_analysis() -> str:
    """The name of a night, of a retry, of a shard, or of a run that a person started."""
    run, options = _run()
    if options.shard or options.night:
        return str(run.name)  # it was named after its backfill or night when it was submitted
    if run.parent_task_run_id:
        return f"retry {_folder(options.source)}"
    return f"night {_time(run, _DAY)}" if run.deployment_id else f"analyze {_folder(options.source)}"


def name_of_sweep() -> str:
    run, options = _run()
    return f"sweep {_time(run, _DAY)}" if run.deployment_id else f"sweep {_folder(options.source)}"


def name_of_retry() -> str:
    return f"retry failed {_time(_run()[0], _MINUTE)}"


def name_of_eviction() -> str:
    return f"evict cache {_time(_run()[0], _MINUTE)}"


def name_of_tidying() -> str:
    return f"tidy prefect {_time(_run()[0], _MINUTE)}"


def name_of_delivery() -> str:
    return f"deliver webhooks {_time(_run()[0], _MINUTE)}"


def name_of_requests() -> str:
    return f"carry out requests {_time(_run()[0], _MINUTE)}"


def name_of_retention() -> str:
    return f"retention {_time(_run()[0], _MINUTE)}"


def name_of_audits() -> str:
    return f"draw audits {_time(_run()[0], _MINUTE)}"


def name_of_dispatch() -> str:
    return f"backfill {_time(_run()[0], _MINUTE)}"


def _run() -> tuple[Any, Any]:
    """The flow run that starts, and its options."""
    context = FlowRunContext.get()
    assert context, "Prefect calls these functions within the context of a flow run"
    assert context.parameters, f"{context.flow} takes options"
    return context.flow_run, context.parameters["options"]


def _time(run: Any, form: str) -> str:
    return str(run.expected_start_time.astimezone().strftime(form))


def _folder(source: str | None) -> str:
    """The last part of a source, as a person would write it.

    >>> _folder("s3://bucket/camera 1/"), _folder("file:///videos/caf%C3%A9"), _folder("s3://bucket")
    ('camera 1', 'café', 'bucket')
    """
    if source is None:
        called_by = caller.get()
        try:
            source = (called_by.settings if called_by else load_settings()).source
        except SettingsError:
            return ""  # the run reports it
    last = source.rstrip("/").rpartition("/")[2]
    return escape_controls(unquote(last) if source.startswith("file://") else last)[:_LONGEST] or "/"
