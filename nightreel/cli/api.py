"""`api`: serve the REST service."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from nightreel.api.app import create_app
from nightreel.api.server import serve
from nightreel.cli.console import command_settings, err, out, print_line
from nightreel.proxies import is_loopback


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
    if not is_loopback(f"http://{settings.api_host}"):
        err.print("Tokens travel unencrypted: put a proxy with TLS in front.", style="yellow")
    serve(settings, on_ready=lambda url: print_line(f"REST service at {url}"))
    print_line("stopped")


def register(app: typer.Typer) -> None:
    app.command()(api)
