"""`export`: results leave as CSV, JSON Lines or Parquet, or in the forms that curators load."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nightreel.cli.console import command_settings, err
from nightreel.cli.filters import check_word
from nightreel.database.view_rows import chosen_columns, parse_filter, read_rows, view_columns
from nightreel.errors import SettingsError
from nightreel.stages.curation import Curation, CurationFormat, read_found, write_curation
from nightreel.stages.database import open_database
from nightreel.stages.export import Format, export_rows, whole_file
from nightreel.units import counted

_STDOUT = "-"


def export(
    view: Annotated[str, typer.Argument(help="A view of `reporting`, such as answers or video_answers.")] = "answers",
    to: Annotated[str, typer.Option(help="File to write, or directory to make; - for stdout.")] = _STDOUT,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=f"{', '.join(Format)}; for curators: {', '.join(CurationFormat)}. Default: by the name of the file, "
            "else csv.",
        ),
    ] = None,
    columns: Annotated[str | None, typer.Option(help="Only these columns: uri,prompt,answer.")] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", help="Only rows with this: prompt=gore, severity>=3. Repeatable.")
    ] = None,
    under: Annotated[str | None, typer.Option(help="Only videos whose key starts with this.")] = None,
    restricted: Annotated[
        bool, typer.Option("--restricted", help="Include videos with a verdict in the lane `restricted`.")
    ] = False,
) -> None:
    """Write the rows of a view, in no order: any number of them, in flat memory.

    The forms fiftyone, label-studio and webvtt make a directory of the rows of flags, timeline or answers.
    """
    if form is not None:
        check_word("--format", form, [*Format, *CurationFormat], kind="format")
    conditions = [parse_filter(written) for written in filters or ()]
    if form in list(CurationFormat):
        if to == _STDOUT or columns:
            raise SettingsError(f"--format {form}: name a new directory with --to, and leave out --columns")
        with open_database(command_settings()) as database, database.begin() as connection:
            found = read_found(connection, view, filters=conditions, under=under, restricted=restricted)
            _print_curation(write_curation(found, Path(to), CurationFormat(form), view=view), to)
        return
    of_rows = Format(form) if form else _form_of(to)
    if of_rows is Format.PARQUET and to == _STDOUT and sys.stdout.isatty():
        raise SettingsError("Parquet is not for a terminal: name a file with --to")
    with open_database(command_settings()) as database, database.begin() as connection:
        chosen = chosen_columns(columns, view_columns(connection, view))
        batches = read_rows(connection, view, chosen, filters=conditions, under=under, restricted=restricted)
        if to == _STDOUT:
            count = export_rows(batches, chosen, sys.stdout.buffer, of_rows)
        else:
            with whole_file(Path(to)) as out:
                count = export_rows(batches, chosen, out, of_rows)
    err.print(f"{counted(count, 'row')} of {view}" + ("" if to == _STDOUT else f" in {to}"), markup=False)


def _form_of(to: str) -> Format:
    """
    >>> _form_of("answers.parquet"), _form_of("-")
    (<Format.PARQUET: 'parquet'>, <Format.CSV: 'csv'>)
    """
    suffix = Path(to).suffix.removeprefix(".").lower()
    return Format(suffix) if suffix in list(Format) else Format.CSV


def _print_curation(done: Curation, to: str) -> None:
    err.print(f"{counted(done.findings, 'finding')} of {counted(done.videos, 'video')} in {to}", markup=False)
    if done.without_frames:
        left_out = counted(done.without_frames, "video")
        err.print(f"left out: {left_out} without a known frame rate", markup=False, style="yellow")


def register(app: typer.Typer) -> None:
    app.command()(export)
