"""`console`: serve pages for a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from nightreel.cli.api import leases
from nightreel.cli.console import command_settings, print_line
from nightreel.console.server import check_address, serve_console
from nightreel.settings import Settings


def console(
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: NIGHTREEL_CONSOLE_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0: a free one. Default: NIGHTREEL_CONSOLE_PORT.")] = None,
    behind_proxy: Annotated[
        str | None,
        typer.Option(metavar="ADDRESSES", help="Addresses of proxies with TLS. Default: NIGHTREEL_CONSOLE_PROXIES."),
    ] = None,
) -> None:
    """Serve the console, and the REST service, until interrupted. `users add` and `users reset` let people in."""
    settings = command_settings(console_host=host, console_port=port, console_proxies=behind_proxy)
    check_address(settings)
    serve_until_interrupted(settings)


def serve_until_interrupted(settings: Settings) -> None:
    """Serve, and print the address."""
    with leases(settings) as lease_memory:
        serve_console(settings, on_ready=_print_address, lease_memory=lease_memory)
    print_line("stopped")


def _print_address(url: str, demo_link: str | None) -> None:
    print_line(f"console at {url}")
    if demo_link is not None:
        print_line(f"open this to sign in once as a lead of the demo: {demo_link}")


def register(app: typer.Typer) -> None:
    app.command()(console)
