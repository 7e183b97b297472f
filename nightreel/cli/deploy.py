"""`deploy`: create the pools, queues, deployments and automations of a Prefect server, or update those that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nightreel.cli.console import command_settings, plain, print_line
from nightreel.errors import SettingsError
from nightreel.services import open_services
from nightreel.settings import Settings


class Kind(StrEnum):
    PROCESS = "process"
    KUBERNETES = "kubernetes"


def deploy(
    pool: Annotated[
        list[str] | None,
        typer.Option(
            help="Work pool of a class of machines. The first runs everything, others only shards of backfills."
        ),
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option("--type", help="Type of new pools: your own workers (default), or Kubernetes.")
    ] = None,
    base_job_template: Annotated[
        Path | None, typer.Option(help="Job template to set on the pools; default: leave it unchanged.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Your own prefect.yaml, instead of the shipped one.")] = None,
    cron: Annotated[str | None, typer.Option(help="When nights start, for example '30 0 * * *'.")] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="Time zone of all schedules, for example Europe/Berlin.")
    ] = None,
    notify: Annotated[
        str | None, typer.Option(help="Notification block for failed nights, for example slack-webhook/ops.")
    ] = None,
) -> None:
    """Register schedules, queues and automations with Prefect; a second call changes nothing.

    A deployment is updated when its definition changes: by other options, or by another version of Nightreel. Until
    then, your changes in the UI stay. Whatever you pause in the UI stays paused. Pass the same options each time:
    without --cron, nights start again at the time in the file.
    """
    from nightreel.orchestration.client import prefect_client
    from nightreel.orchestration.deployments.definitions import load_definitions, make_out, shipped
    from nightreel.orchestration.deployments.everything import register_everything
    from nightreel.orchestration.deployments.pools import read_template
    from nightreel.orchestration.prefect_program import prefect_environment

    settings = command_settings()
    pools = list(dict.fromkeys(pool or [settings.work_pool]))
    template = read_template(base_job_template) if base_job_template else None
    definitions = load_definitions(file or shipped("prefect.yaml"))
    definitions = make_out(definitions, pools, cron=cron, time_zone=time_zone)
    _require_source(settings, definitions)
    with open_services(settings, postgres=False) as endpoints:
        assert endpoints.prefect
        with prefect_client(endpoints.prefect) as client:
            changes = register_everything(
                client,
                pools=pools,
                kind=kind.value if kind else None,
                template=template,
                definitions=definitions,
                notify=notify,
                environment=prefect_environment(settings, endpoints.prefect),
            )
    for change in changes or ["nothing to change"]:
        print_line(plain(change))


def _require_source(settings: Settings, definitions: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to schedule nights and sweeps that have no source: each of them would fail."""
    from nightreel.orchestration.deployments.definitions import needs_source

    names = [
        one["name"] for one in definitions if needs_source(one["name"], one.get("entrypoint"), one.get("parameters"))
    ]
    if names and not settings.source:
        raise SettingsError(
            f"no source: runs of {', '.join(names)} would fail. Set NIGHTREEL_SOURCE to a directory or "
            "s3://bucket/prefix, here and on the workers, or name a source in the parameters of --file"
        )


def register(app: typer.Typer) -> None:
    app.command()(deploy)
