"""`doctor`: is everything there that a run needs, and what to do if not."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from nightreel.cli.console import print_json, print_table
from nightreel.doctor import examine
from nightreel.settings import load_settings


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check libraries, GPUs, Postgres, Prefect, storage, cache and model."""
    report = examine(load_settings(), services=True)
    if as_json:
        print_json(report.to_json())
    else:
        print_table(
            ("check", "", "found", "what to do"),
            [
                (
                    check.name,
                    Text("ok", style="green") if check.ok else Text("problem", style="bold red"),
                    check.found,
                    check.advice,
                )
                for check in report.checks
            ],
        )
    if not report.ok:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    app.command()(doctor)
