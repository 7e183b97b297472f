"""`vectors`: show which segments can be found by meaning, and make the vectors that are missing."""

from __future__ import annotations

from typing import Annotated

import typer

from nightreel.cli.console import Json, command_settings, print_json, print_line, print_table
from nightreel.cli.progress import progress_bar
from nightreel.database.vectors import count_vectors, find_embedding_model
from nightreel.stages.database import open_database
from nightreel.stages.fill_vectors import FillCounts, fill_vectors, required_encoder
from nightreel.units import counted


def show(context: typer.Context, as_json: Json = False) -> None:
    """Show the encoder and how many segments have its vectors; make those that are missing."""
    if context.invoked_subcommand:
        return
    settings = command_settings()
    with open_database(settings) as database:
        spec = required_encoder(settings, database).spec
        with database.begin() as connection:
            counts = count_vectors(connection, embedding_model_id=find_embedding_model(connection, spec.hash))
    if as_json:
        print_json(
            {
                "embedding_model": spec.name,
                "revision": spec.revision,
                "segments": counts.segments,
                "with_vector": counts.with_vector,
            }
        )
        return
    print_table(
        ("vectors", ""),
        [
            ("embedding model", spec.name),
            ("revision", spec.revision),
            ("segments with answers", f"{counts.segments:,}"),
            ("with a vector", f"{counts.with_vector:,}"),
        ],
    )


def fill(
    device: Annotated[
        str, typer.Option(help="Where the encoder works: cpu, or a GPU that no run uses, as cuda:0.")
    ] = "cpu",
) -> None:
    """Make the missing vectors, from thumbnails or from the videos. Ctrl-C is safe: the next call goes on."""
    settings = command_settings()
    bar = progress_bar()
    task = bar.add_task("making vectors", total=None)

    def show_progress(counts: FillCounts) -> None:
        bar.update(task, completed=counts.filled + counts.without_frames, total=counts.missing)

    with open_database(settings, to_write=True) as database, bar:
        counts = fill_vectors(settings, database, device=device, on_progress=show_progress)
    print_line(f"{counted(counts.filled, 'segment')} got a vector, {counts.missing:,} had none")
    if counts.without_frames:
        print_line(f"{counts.without_frames:,} have no frames any more: thumbnail and video are gone", style="yellow")


def register(app: typer.Typer) -> None:
    about = "Show and make the vectors by which search finds meaning."
    group = typer.Typer(help=about, invoke_without_command=True, callback=show)
    group.command()(fill)
    app.add_typer(group, name="vectors")
