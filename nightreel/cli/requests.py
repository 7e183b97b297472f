"""`requests list|carry-out`: what people asked for in the console, and carry it out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from nightreel.cli.console import Json, command_settings, plain, print_json, print_line, print_table
from nightreel.database import requests as stored
from nightreel.stages.database import open_database
from nightreel.stages.requests import carry_out_requests, erasing_for


def list_all(
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many requests.")] = 20, as_json: Json = False
) -> None:
    """List what people asked for in the console, the newest first."""
    with open_database(command_settings()) as database, database.begin() as connection:
        found = stored.list_requests(connection, limit=limit)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    if not found:
        print_line("no requests")
        return
    print_table(
        ("id", "what", "by", "asked", "outcome"),
        [
            (
                one.id,
                ", ".join([one.kind, *(f"{name} {plain(str(value))}" for name, value in one.detail.items() if value)]),
                plain(one.who),
                f"{one.asked_at:%Y-%m-%d %H:%M}",
                "waits" if one.outcome is None else ("refused: " if one.failed else "") + plain(one.outcome),
            )
            for one in found
        ],
    )


def carry_out() -> None:
    """Carry out what waits. The deployment `carry-out-requests` does so every 5 minutes."""
    from nightreel.orchestration.forgetting import forget_in_prefect

    settings = command_settings()
    with open_database(settings, to_write=True) as database:
        erase = erasing_for(settings, database, forget=forget_in_prefect(settings))
        print_line(str(carry_out_requests(database, erase=erase)))


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="See and carry out what people asked for in the console.", no_args_is_help=True)
    group.command("list")(list_all)
    group.command("carry-out")(carry_out)
    app.add_typer(group, name="requests")
