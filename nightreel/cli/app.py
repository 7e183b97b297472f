"""Entry point of all commands: imports a command when it is called, prints its errors, sets the exit status.

Exit status: 0 success, 1 something failed or a check found a problem, 2 wrong usage or settings, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nightreel import __version__
from nightreel.cli.console import err, plain
from nightreel.errors import NightreelError, SettingsError

# Each command's module, in the order in which `nightreel --help` lists the commands.
COMMANDS = {
    "demo": "demo",
    "up": "services",
    "down": "services",
    "status": "services",
    "analyze": "analyze",
    "backfill": "backfill",
    "answers": "reports",
    "failures": "reports",
    "retry": "reports",
    "frames": "frames",
    "ask": "ask",
    "model": "model",
    "gpu": "gpu",
    "cache": "cache",
    "metrics": "metrics",
    "deploy": "deploy",
    "worker": "worker",
    "doctor": "doctor",
    "db": "services",
}


class _Commands(TyperGroup):
    """A group that imports each command when it is needed: a command that prints rows should not load a decoder."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - click passes it
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - click passes it
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            group = typer.Typer()
            import_module(f"nightreel.cli.{COMMANDS[cmd_name]}").register(group)
            self.commands.update(typer.main.get_group(group).commands)
        return self.commands[cmd_name]


app = typer.Typer(
    name="nightreel",
    cls=_Commands,
    help="Watch a bucket of videos and report what is in them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nightreel {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Options of all commands."""


def main() -> None:
    """Run a command and exit."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM ends a command as Ctrl-C does
    try:
        app()
    except SettingsError as error:
        _print_error(error)
        sys.exit(2)
    except NightreelError as error:
        _print_error(error)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the output is gone: a message would fail too
        sys.exit(1)


def _print_error(error: NightreelError) -> None:
    for line in str(error).splitlines():
        err.print(f"error: {plain(line)}", style="red", markup=False, soft_wrap=True)
