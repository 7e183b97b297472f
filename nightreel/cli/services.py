"""`up`, `down`, `status` of the embedded services."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from nightreel import services
from nightreel.cli.console import Json, command_settings, print_json, print_line, print_table
from nightreel.database.quarantine import count_quarantined
from nightreel.errors import NightreelError
from nightreel.services import ServiceStatus
from nightreel.settings import Settings
from nightreel.stages.database import open_database, upgrade_database
from nightreel.units import counted, human_seconds


def up(
    console: Annotated[
        bool, typer.Option("--console", help="Then serve the console until interrupted. The services stay.")
    ] = False,
) -> None:
    """Start the embedded Postgres and Prefect server and leave them running."""
    settings = command_settings()
    if console:
        from nightreel.console.server import check_address  # other commands of this file need no pages

        check_address(settings)  # before anything is started
    endpoints = services.up(settings)
    if settings.database_url is None:
        upgrade_database(endpoints.owner_url, console_url=settings.console_url)
    print_line(f"started: {', '.join(endpoints.started) or 'nothing, all were running'}")
    _print_status(services.status(settings))
    if console:
        from nightreel.cli.console_server import serve_until_interrupted

        serve_until_interrupted(settings)


def down(
    force: Annotated[bool, typer.Option("--force", help="Stop them even while commands use them.")] = False,
) -> None:
    """Stop the embedded services."""
    stopped = services.down(command_settings(), force=force)
    print_line(f"stopped: {', '.join(stopped) or 'nothing, none were running'}")


def status(as_json: Json = False) -> None:
    """Show which services run, where, and since when, and how many videos are in quarantine."""
    settings = command_settings()
    found = services.status(settings)
    if as_json:
        print_json([asdict(service) for service in found])
    else:
        _print_status(found)
        _print_quarantine(found, settings)
    if any(service.state == "broken" for service in found):
        raise typer.Exit(1)


def _print_status(found: list[ServiceStatus]) -> None:
    rows = [
        (
            service.name,
            service.state,
            service.url,
            service.pid,
            "" if service.uptime_s is None else human_seconds(service.uptime_s),
            service.detail,
        )
        for service in found
    ]
    print_table(("service", "state", "url", "pid", "up", "detail"), rows)
    for service in found:
        if service.ui_url:
            print_line(f"Prefect's UI: {service.ui_url}")
        elif service.name == "prefect" and service.state == "stopped":
            print_line("Prefect's UI: stopped; `nightreel up` starts it")


def _print_quarantine(found: list[ServiceStatus], settings: Settings) -> None:
    """Say how many videos wait for a person, if Postgres runs: nothing is started for it."""
    if not any(service.name == "postgres" and service.state in ("running", "external") for service in found):
        return
    try:
        with open_database(settings) as database, database.begin() as connection:
            videos = count_quarantined(connection)
    except NightreelError:  # the table above shows what is wrong, or the database is of another version
        return
    if videos:
        print_line(
            f"{counted(videos, 'video')} in quarantine: `nightreel failures` shows what to check", style="yellow"
        )


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(down)
    app.command()(status)
