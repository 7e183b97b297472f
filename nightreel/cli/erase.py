"""`erase`: remove all that is known of a video, so that nothing brings it back."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from typing import Annotated

import typer

from nightreel.cli.console import Json, command_settings, err, plain, print_json, print_line, print_table
from nightreel.database.erasures import ErasureKind
from nightreel.errors import SettingsError
from nightreel.stages.database import open_database
from nightreel.stages.erase import ErasureReport, erase, erasing_key
from nightreel.stages.erase_target import Target, find_target
from nightreel.units import counted


def erase_video(
    what: Annotated[str, typer.Argument(help="File, URI of an object, or SHA-256 of a content under all keys.")],
    reason: Annotated[str, typer.Option(help="Why; the log keeps it. Name no person and no video.")],
    all_copies: Annotated[
        bool, typer.Option("--all-copies", help="Erase the same bytes under other keys, too.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask. Copies under other keys stay without --all-copies.")
    ] = False,
    by: Annotated[str | None, typer.Option("--by", help="Who erases.")] = None,
    as_json: Json = False,
) -> None:
    """Erase all that is known of a video: answers, features, pictures, vectors, hashes, notes of reviewers.

    Who decided what, and when, stays. Runs never take the same object or the same bytes again. The object itself stays.
    If this command is killed, repeat it.
    """
    from nightreel.orchestration.forgetting import forget_in_prefect

    settings = command_settings()
    if not reason.strip():
        raise SettingsError("--reason: say why")
    if as_json and not yes:
        raise SettingsError("--json asks nothing: add --yes")
    with open_database(settings, to_write=True) as database:
        key = erasing_key(settings, database)
        with database.begin() as connection:
            target = find_target(connection, what, key)
        if target.versions:
            versions = [*target.versions, *(target.copies if _takes_copies(target, all_copies, yes=yes) else ())]
            if not yes:
                typer.confirm(f"Erase {counted(len({one.uri for one in versions}), 'object')}?", abort=True, err=True)
            report = erase(
                settings,
                database,
                versions,
                kind=ErasureKind.ASKED,
                made_by=by or getpass.getuser(),
                reason=reason.strip(),
                key=key,
                forget=forget_in_prefect(settings),
            )
        elif target.erased_by:
            report = ErasureReport(erasure_id=None, prefect=forget_in_prefect(settings)(target.mention))
        else:
            raise SettingsError(f"{what!r} is not known, and was not erased: there is nothing to erase")
    if as_json:
        print_json(asdict(report) | {"erased_before_by": list(target.erased_by)})
    else:
        _print(report, target)
    if report.prefect.get("running"):
        raise typer.Exit(1)


def _takes_copies(target: Target, all_copies: bool, *, yes: bool) -> bool:
    others = sorted({one.uri for one in target.copies})
    if not others or all_copies or yes:
        return all_copies
    err.print(f"{counted(len(others), 'other object')} with the same bytes:", markup=False)
    for uri in others[:10]:
        err.print(f"  {plain(uri)}", markup=False, soft_wrap=True)
    return typer.confirm("Erase these, too?", err=True)


def _print(report: ErasureReport, target: Target) -> None:
    if report.erasure_id is None:
        numbers = ", ".join(map(str, target.erased_by))
        print_line(f"erased before (number {numbers} of the view `erasures`); only Prefect was looked through again")
    else:
        print_line(f"erased: number {report.erasure_id} of the view `erasures`")
    rows = {
        **report.counts,
        "files of the cache": report.files,
        "files of the spool": report.spooled,
        "previews": report.previews,
    }
    rows |= {f"Prefect: {name.replace('_', ' ')}": count for name, count in report.prefect.items()}
    print_table(("what", "count"), [(name.replace("_", " "), f"{count:,}") for name, count in rows.items()])
    if report.kept_copies:
        print_line(f"kept, with what is known of it: {counted(report.kept_copies, 'other object')} with the same bytes")
    if report.prefect.get("running"):
        print_line("flow runs that name it have not ended: repeat this command when they have", style="yellow")
    print_line("not reached:")
    for place in report.out_of_reach:
        print_line(f"  {place}")


def register(app: typer.Typer) -> None:
    app.command("erase")(erase_video)
