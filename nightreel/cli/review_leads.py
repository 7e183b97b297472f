"""`review bulk`, `review apply`: what leads do. `review` registers them."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from nightreel.cli.console import Json, command_settings, err, plain, print_json, print_line, print_table
from nightreel.database.users import find_user
from nightreel.domain.cases import Ruling
from nightreel.domain.findings import Found
from nightreel.errors import SettingsError
from nightreel.review.bulk import BulkFilter, BulkPreview, decide_bulk, preview_bulk
from nightreel.review.queue_file import load_queues, shipped_queues
from nightreel.stages.database import open_database
from nightreel.stages.sort import apply_queues
from nightreel.units import counted

Severity = Annotated[int | None, typer.Option(min=1, max=4, help="1 to 4.")]
Probability = Annotated[float | None, typer.Option(min=0, max=1, help="0 to 1.")]


def bulk(
    queue: Annotated[str, typer.Argument(help="Name of a queue.")],
    ruling: Annotated[Ruling, typer.Option(help="What is decided about all labels that are hit.")],
    category: Annotated[str | None, typer.Option(help="Only labels of this category.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Only labels of this prompt.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only this tag.")] = None,
    found: Annotated[Found | None, typer.Option(help="Only labels that were found so.")] = None,
    min_severity: Severity = None,
    max_severity: Severity = None,
    min_p: Probability = None,
    max_p: Probability = None,
    under: Annotated[str | None, typer.Option(help="Only videos whose key starts with this.")] = None,
    note: Annotated[str, typer.Option(help="Why.")] = "",
    preview: Annotated[
        str | None, typer.Option(help="Decide: the digest that the preview printed. Left out: only preview.")
    ] = None,
    me: Annotated[str | None, typer.Option("--as", help="Who you are: a name of `nightreel users list`.")] = None,
    as_json: Json = False,
) -> None:
    """Decide all labels that a filter hits, after a preview. Leads may."""
    wanted = BulkFilter(
        queue=queue,
        category=category,
        prompt=prompt,
        tag=tag,
        found=found,
        min_severity=min_severity,
        max_severity=max_severity,
        min_p=min_p,
        max_p=max_p,
        under=under,
    )
    who = me or getpass.getuser()
    with open_database(command_settings()) as database, database.begin() as connection:
        user = find_user(connection, who)
        if user is None:
            raise SettingsError(f"there is no user {who!r}: `nightreel users add` makes one, --as names another one")
        if preview is None:
            _print_preview(preview_bulk(connection, user, wanted), ruling, as_json=as_json)
            return
        done = decide_bulk(connection, user, wanted, ruling=ruling, note=note, digest=preview)
    if as_json:
        print_json(asdict(done))
        return
    print_line(f"{ruling}: {counted(done.decisions, 'label')} in {counted(done.cases, 'case')}")
    print_line(f"to undo: nightreel review undo {done.batch_id}")


def apply(
    file: Annotated[
        Path | None, typer.Argument(help="YAML file; left out: the queues that come with Nightreel.")
    ] = None,
    made_by: Annotated[str | None, typer.Option("--by", help="Who applies it.")] = None,
) -> None:
    """Bring queues into force, and sort all cases into them. Decisions stay."""
    queues = load_queues(file) if file else shipped_queues()
    with open_database(command_settings(), to_write=True) as database:
        changed = apply_queues(database, queues, made_by=made_by or getpass.getuser())
    names = ", ".join(queue.name for queue in queues.queues)
    print_line(f"in force: {names}" if changed else f"in force already: {names}")


def _print_preview(found: BulkPreview, ruling: Ruling, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(found))
        return
    print_table(("label", "hits"), list(found.labels.items()))
    print_line(f"{counted(found.cases, 'case')}, {counted(found.videos, 'video')}")
    for uri in found.examples:
        print_line(f"  {plain(uri)}")
    if found.cases:
        err.print(
            f"Nothing is decided. To {ruling} all of these: the same command with --preview {found.digest}",
            markup=False,
            soft_wrap=True,
        )
