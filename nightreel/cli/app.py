"""Entry point of all commands: imports a command when it is called, prints its errors, sets the exit status.

Exit status: 0 success, 1 something failed or a check found a problem, 2 wrong usage or settings, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nightreel import __version__
from nightreel.cli.console import err, plain
from nightreel.cli.streams import describe, discard_output, flush_output, prepare_streams
from nightreel.errors import NightreelError, SettingsError
from nightreel.private import UMASK
from nightreel.reasons import Reason

# Each command's module, in the order in which `nightreel --help` lists the commands.
COMMANDS = {
    "demo": "demo",
    "up": "services",
    "down": "services",
    "status": "services",
    "ui": "ui",
    "analyze": "analyze",
    "backfill": "backfill",
    "runs": "runs",
    "search": "search",
    "vectors": "vectors",
    "answers": "reports",
    "failures": "reports",
    "retry": "reports",
    "review": "review",
    "audit": "audit",
    "users": "users",
    "requests": "requests",
    "erase": "erase",
    "hold": "hold",
    "export": "export",
    "console": "console_server",
    "api": "api",
    "tokens": "tokens",
    "webhooks": "webhooks",
    "frames": "frames",
    "ask": "ask",
    "eval": "evaluation",
    "model": "model",
    "engine": "engine",
    "gpu": "gpu",
    "cache": "cache",
    "prompts": "prompts",
    "policy": "policy",
    "recipes": "recipes",
    "settings": "settings",
    "metrics": "metrics",
    "deploy": "deploy",
    "worker": "worker",
    "doctor": "doctor",
    "db": "database",
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
    os.umask(UMASK)  # other users read nothing that a command or its children write
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM ends a command as Ctrl-C does
    prepare_streams()
    try:
        status = _run()
        flush_output()
    except OSError as error:
        discard_output()
        status = 1
        if error.errno != errno.EPIPE:  # else the reader of the output is gone, and needs no message
            with suppress(OSError):
                _print_error(describe(error))
    sys.exit(status)


def _run() -> int | str | None:
    """Run a command, print its error, and return its exit status.

    Raises:
        OSError: a file or the output cannot be read or written.
    """
    try:
        app()
    except SystemExit as end:
        return end.code
    except NightreelError as error:
        _print_error(str(error))
        if error.reason is Reason.PREFECT_UNREACHABLE:  # else Prefect tries for many minutes to send its events
            flush_output()
            os._exit(1)
        return 2 if isinstance(error, SettingsError) else 1
    return 0


def _print_error(text: str) -> None:
    for line in text.splitlines():
        err.print(f"error: {plain(line)}", style="red", markup=False, soft_wrap=True)
