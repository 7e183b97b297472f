"""`api`: serve the REST service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from nightreel.api.app import create_app
from nightreel.api.server import is_for_this_host, serve
from nightreel.cli.console import command_settings, err, out, print_line
from nightreel.services.endpoints import prefect_api
from nightreel.settings import Settings
from nightreel.stages.database import require_console_url
from nightreel.stages.device_lease import LeaseNow


def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: NIGHTREEL_API_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0: a free one. Default: NIGHTREEL_API_PORT.")] = None,
    openapi: Annotated[bool, typer.Option("--openapi", help="Print the OpenAPI document, then exit.")] = False,
) -> None:
    """Serve rows, pictures and questions over HTTP until interrupted. `nightreel tokens add` makes a token."""
    settings = command_settings(api_host=host, api_port=port)
    if openapi:
        out.file.write(json.dumps(create_app(None).openapi(), indent=2) + "\n")
        return
    if not is_for_this_host(settings.api_host):
        err.print("Tokens travel unencrypted: put a proxy with TLS in front.", style="yellow")
    with leases(settings) as lease_memory:
        serve(settings, on_ready=lambda url: print_line(f"REST service at {url}"), lease_memory=lease_memory)
    print_line("stopped")


@contextmanager
def leases(settings: Settings) -> Iterator[LeaseNow | None]:
    """What leases memory for the model: None without a Prefect server, or with the database of the console alone.

    Raises:
        SettingsError: as `require_console_url`, before anything else is opened.
    """
    require_console_url(settings)
    prefect = prefect_api(settings)
    has_no_database = settings.database_url is None and settings.database_console_url is not None
    if prefect is None or has_no_database:
        missing = "a Prefect server" if prefect is None else "NIGHTREEL_DATABASE_URL"
        err.print(f"Questions lease no memory: this needs {missing}.", style="yellow", markup=False)
        yield None
        return
    from nightreel.orchestration.service_lease import open_leases  # Prefect takes seconds to import

    with open_leases(settings, prefect) as lease_memory:
        yield lease_memory


def register(app: typer.Typer) -> None:
    app.command()(api)
