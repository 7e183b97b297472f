"""`recipes`: show what was asked with which model, and choose whose answers are on show."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from nightreel.cli.console import Json, command_settings, plain, print_json, print_line, print_table
from nightreel.database.current_recipes import make_current
from nightreel.database.recipes import read_recipe
from nightreel.database.reports import recipes as read_recipes
from nightreel.stages.database import open_database
from nightreel.stages.show import show_current
from nightreel.storage import open_storage
from nightreel.units import counted


def show(context: typer.Context, as_json: Json = False) -> None:
    """Show the recipes: model, plan, prompt sets, and where their answers are on show; change that."""
    if context.invoked_subcommand:
        return
    with open_database(command_settings()) as database, database.begin() as connection:
        rows = read_recipes(connection)
    if as_json:
        print_json([dict(row) for row in rows])
        return
    print_table(
        ("recipe", "model", "plan", "sets", "current for"),
        [
            (
                row["recipe_id"],
                f"{row['model']} {row['dtype'] or ''}".strip(),
                f"{row['plan']}, {row['window_s']:g} s",
                ", ".join(dict.fromkeys(one["set"] for one in row["prompts"] or ())),
                ", ".join(f"{one['set']} of {one['source']}" for one in row["current_for"] or ()),
            )
            for row in rows
        ],
    )
    if not rows:
        print_line("none: no run has asked a prompt yet")


def use(
    recipe: Annotated[int, typer.Argument(help="Id of the recipe.")],
    source: Annotated[str | None, typer.Option(help="Source whose videos show it; default: NIGHTREEL_SOURCE.")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="Only this prompt set of the recipe; repeatable.")
    ] = None,
) -> None:
    """Show the answers of a recipe for the videos of a source."""
    settings = command_settings(source=source)
    url = open_storage(settings.source, settings).url
    with open_database(settings, to_write=True) as database:
        with database.begin() as connection:
            found, _ = read_recipe(connection, recipe)
            known = dict.fromkeys(prompt.set_name for prompt in found.prompts.prompts)
            if unknown := [name for name in sets or () if name not in known]:
                raise typer.BadParameter(f"recipe {recipe} has no prompt set {unknown[0]!r}: {', '.join(known)}")
            make_current(
                connection, recipe, source=url, set_names=sets or known, made_by=getpass.getuser(), instead=True
            )
        changed = show_current(database)
    print_line(f"recipe {recipe} is current for {plain(url)}: {counted(changed, 'video')} show other answers now")


def register(app: typer.Typer) -> None:
    group = typer.Typer(invoke_without_command=True)
    group.callback()(show)
    group.command("use")(use)
    app.add_typer(group, name="recipes")
