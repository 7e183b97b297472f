"""`doctor`: check everything that a run needs, and report what to do about problems."""

from __future__ import annotations

import typer
from rich.text import Text

from nightreel.cli.console import Json, command_settings, print_json, print_table
from nightreel.doctor import report, run_checks


def doctor(as_json: Json = False) -> None:
    """Check libraries, GPUs, Postgres, Prefect, storage, cache and model."""
    settings = command_settings()
    if as_json:
        told = report(settings)
        print_json(told)
        ok = told["ok"]
    else:
        checks = run_checks(settings)
        ok = all(check.ok for check in checks)
        print_table(
            ("check", "", "found", "what to do"),
            [
                (
                    check.name,
                    Text("ok", style="green") if check.ok else Text("problem", style="bold red"),
                    check.found,
                    check.advice,
                )
                for check in checks
            ],
        )
    if not ok:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    app.command()(doctor)
