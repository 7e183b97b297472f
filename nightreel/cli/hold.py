"""`hold add|remove|list`: what must not be erased."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from typing import Annotated

import typer

from nightreel.cli.console import Json, command_settings, plain, print_json, print_line, print_table
from nightreel.database import legal_holds
from nightreel.database.legal_holds import LegalHold
from nightreel.errors import SettingsError
from nightreel.stages.database import open_database
from nightreel.stages.erase_target import find_target
from nightreel.units import counted

By = Annotated[str | None, typer.Option("--by", help="Who does it.")]


def add(
    what: Annotated[str, typer.Argument(help="File, URI of an object, or SHA-256 of a content.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    by: By = None,
) -> None:
    """Hold an object or a content: erasure and retention refuse it, and its features are not evicted."""
    if not reason.strip():
        raise SettingsError("--reason: say why")
    with open_database(command_settings()) as database, database.begin() as connection:
        target = find_target(connection, what, None)
        if not target.versions:
            raise SettingsError(f"{what!r} is not known: there is nothing to hold")
        hold_id = legal_holds.add_hold(
            connection,
            uri=target.uri,
            content_sha256=target.content_sha256,
            reason=reason.strip(),
            made_by=by or getpass.getuser(),
        )
    if hold_id is None:
        print_line("it is held already: `nightreel hold list` shows why")
        return
    print_line(f"hold {hold_id} counts for {counted(len(target.versions), 'version')} of a video")


def remove(
    hold_id: Annotated[int, typer.Argument(help="Its number in `nightreel hold list`.", min=1, max=2**63 - 1)],
    by: By = None,
) -> None:
    """End a hold. What it held may be erased from now on."""
    with open_database(command_settings()) as database, database.begin() as connection:
        if not legal_holds.remove_hold(connection, hold_id, removed_by=by or getpass.getuser()):
            raise SettingsError(f"there is no hold {hold_id} that counts: `nightreel hold list` shows all")
    print_line(f"hold {hold_id} is removed")


def list_all(
    removed: Annotated[bool, typer.Option("--removed", help="Also those that were removed.")] = False,
    as_json: Json = False,
) -> None:
    """List the holds that count, the newest first."""
    with open_database(command_settings()) as database, database.begin() as connection:
        found = legal_holds.list_holds(connection, removed=removed)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    if not found:
        print_line("no legal holds: `nightreel hold add` makes one")
        return
    print_table(("hold", "what", "videos", "reason", "by", "since", "removed"), map(_row, found))


def _row(hold: LegalHold) -> tuple[object, ...]:
    what = hold.uri or hold.content_sha256 or "(erased)"
    removed = f"{hold.removed_at:%Y-%m-%d} by {plain(hold.removed_by)}" if hold.removed_at else ""
    return hold.hold_id, what, hold.videos, hold.reason or "", hold.made_by, f"{hold.created_at:%Y-%m-%d}", removed


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Manage legal holds: what must not be erased.", no_args_is_help=True)
    group.command()(add)
    group.command()(remove)
    group.command("list")(list_all)
    app.add_typer(group, name="hold")
