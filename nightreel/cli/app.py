"""The commands' common door: errors become one sentence and an exit status, Ctrl-C leaves things clean.

Exit status: 0 all well, 1 something failed or a check found a problem, 2 wrong usage or settings, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer
from rich.logging import RichHandler

from nightreel import __version__
from nightreel.cli import (
    analyze,
    ask,
    backfill,
    cache,
    demo,
    deploy,
    doctor,
    frames,
    gpu,
    metrics,
    model,
    reports,
    services,
    worker,
)
from nightreel.cli.console import err, plain
from nightreel.errors import NightreelError, SettingsError
from nightreel.logs import set_up_command_logging
from nightreel.settings import load_settings

app = typer.Typer(
    name="nightreel",
    help="Watch a bucket of videos and tell people what is in them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (
    demo,
    services,
    analyze,
    backfill,
    reports,
    frames,
    ask,
    model,
    gpu,
    cache,
    metrics,
    deploy,
    worker,
    doctor,
):
    module.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nightreel {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    # Our own words alone: what Prefect has to say is in its UI, and libraries are heard from WARNING on.
    terminal = RichHandler(console=err, show_time=False, show_path=False, markup=False, highlighter=None)
    set_up_command_logging(load_settings(), terminal=terminal)


def main() -> None:
    """Run a command and exit."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an orderly end for both
    try:
        app()
    except SettingsError as error:
        _say(error)
        sys.exit(2)
    except NightreelError as error:
        _say(error)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away: nobody is left to tell
        sys.exit(1)


def _say(error: NightreelError) -> None:
    for line in str(error).splitlines():
        err.print(f"error: {plain(line)}", style="red", markup=False, soft_wrap=True)
