"""`audit golden`: items of which the right decision is known. `audit` registers it."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from nightreel.cli.console import Json, command_settings, plain, print_json, print_line, print_table
from nightreel.cli.filters import find_video
from nightreel.review.golden import add_golden_item, golden_items, remove_golden_item
from nightreel.stages.database import open_database

Labels = Annotated[list[str] | None, typer.Option(help="A label: PROMPT, SET/PROMPT, or PROMPT: TAG. Repeatable.")]


def add(
    video: Annotated[str, typer.Argument(help="Key of a video, or a part of it.")],
    confirm: Labels = None,
    reject: Labels = None,
    made_by: Annotated[str | None, typer.Option("--by", help="Who adds it.")] = None,
) -> None:
    """Keep a video as a golden item: each reviewer gets it once, and must confirm and reject these labels."""
    labels = dict.fromkeys(confirm or [], True) | dict.fromkeys(reject or [], False)
    with open_database(command_settings(), to_write=True) as database, database.begin() as connection:
        video_id = find_video(connection, video)
        golden_id = add_golden_item(connection, video_id, labels, made_by=made_by or getpass.getuser())
    print_line(f"golden item {golden_id}; queues give it if they have a golden_share")


def list_items(as_json: Json = False) -> None:
    """Show the golden items."""
    with open_database(command_settings()) as database, database.begin() as connection:
        found = golden_items(connection)
    if as_json:
        print_json([{name: getattr(one, name) for name in one.__dataclass_fields__} for one in found])
        return
    print_table(
        ("item", "video", "confirm", "reject", "given to", "by"),
        [
            (
                one.golden_id,
                plain(one.uri),
                ", ".join(name for name, right in one.labels.items() if right),
                ", ".join(name for name, right in one.labels.items() if not right),
                one.given,
                one.made_by,
            )
            for one in found
        ],
    )


def remove(golden_id: Annotated[int, typer.Argument(min=1, max=2**63 - 1, help="Number of the item.")]) -> None:
    """Give an item to nobody any more. What people decided about it stays."""
    with open_database(command_settings(), to_write=True) as database, database.begin() as connection:
        remove_golden_item(connection, golden_id)
    print_line(f"golden item {golden_id} is given to nobody any more")


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Items of which the right decision is known.", no_args_is_help=True)
    group.command()(add)
    group.command("list")(list_items)
    group.command()(remove)
    app.add_typer(group, name="golden")
