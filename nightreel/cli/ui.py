"""`ui`: open Prefect's UI in a browser, logged in.

The browser gets the path of a page that only this user can read; the page sends the server's secret. A link with the
secret in it would be on the browser's command line, which every user of the machine sees.
"""

from __future__ import annotations

import threading
import webbrowser
from typing import Annotated

import typer

from nightreel import services
from nightreel.cli.console import command_settings, print_line
from nightreel.services import open_services
from nightreel.settings import Settings


def ui(
    password: Annotated[
        bool, typer.Option("--password", help="Print what the login page asks for, and open nothing.")
    ] = False,
) -> None:
    """Open Prefect's UI in a browser, logged in. If the server does not run, it runs until Ctrl-C."""
    settings = command_settings()
    if password:
        _print_password(settings)
        return
    with open_services(settings, postgres=False):
        found = services.status(settings)[1]
        page = services.login_page(settings)
        if not webbrowser.open(page.as_uri() if page else found.ui_url):
            print_line("No browser can be started here: open the address in one on this machine, or forward its port.")
        print_line(f"Prefect's UI: {found.ui_url}")
        print_line("If it asks for a password, enter what `nightreel ui --password` prints.")
        if found.state == "running" and not found.kept:
            print_line("The server runs until Ctrl-C; `nightreel up` keeps one.")
            try:
                threading.Event().wait()
            except KeyboardInterrupt:
                print_line("stopped")


def _print_password(settings: Settings) -> None:
    api = services.prefect_api(settings)
    if api is None:
        print_line("the embedded server was never started here: `nightreel up` starts it")
        raise typer.Exit(1)
    if api.auth_string is None:
        print_line("PREFECT_API_AUTH_STRING is not set: the server's operator knows its password, if it has one")
        raise typer.Exit(1)
    print_line(api.auth_string)


def register(app: typer.Typer) -> None:
    app.command()(ui)
