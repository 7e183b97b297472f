"""`answers`, `failures`, `retry`: show and reopen results without psql."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from nightreel.cli.console import Json, command_settings, plain, print_json, print_line, print_table
from nightreel.cli.filters import check_key, check_prompt, check_reason, check_state
from nightreel.database import reports
from nightreel.domain import UNSURE, VerdictState, saw, too_little
from nightreel.logs import file_name
from nightreel.reasons import Reason
from nightreel.stages.database import open_database
from nightreel.units import counted

Uri = Annotated[str | None, typer.Argument(help="Part of the video's key.")]
Limit = Annotated[int, typer.Option(min=1, help="Show at most this many rows.")]


def answers(
    uri: Uri = None,
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", help="Only this prompt.")] = None,
    state: Annotated[str | None, typer.Option(help="Only this state: answered, unknown or error.")] = None,
    review: Annotated[bool, typer.Option("--review", help="Only answers that need review.")] = False,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """Show the newest answers."""
    check_state(state)
    settings = command_settings()
    with open_database(settings) as database, database.begin() as connection:
        check_prompt(connection, settings, prompt)
        check_key(
            connection, uri, options={"--prompt": reports.prompt_names(connection), "--state": list(VerdictState)}
        )
        rows = reports.answers(connection, uri=uri, prompt=prompt, state=state, needs_review=review, limit=limit)
        is_empty = not (rows or reports.has_video(connection, ""))
    if as_json:
        print_json([dict(row) for row in rows])
        return
    print_table(
        ("video", "seconds", "prompt", "answer", "p", ""),
        [
            (
                file_name(row["uri"]),
                f"{row['start_s']:.0f}-{row['end_s']:.0f}",
                row["prompt"],
                Text(plain(row["answer"], width=100))
                if row["state"] == "answered"
                else Text(plain(f"{row['state']}: {row['reason']}"), style="yellow"),
                "" if row["p"] is None else f"{row['p']:.3f}",
                _note(dict(row)),
            )
            for row in rows
        ],
    )
    _more(rows, limit, is_empty=is_empty)


def _note(row: Mapping[str, Any]) -> Text:
    """Why a person should look at an answer, what it lacks, and how much was seen, if not all."""
    to_review = row["needs_review"] or (row["video_needs_review"] and row["little_of_video"])
    note = "flagged" if row["flagged"] else "review" if to_review else ""
    part = _saw(row["covered_s"], row["expected_s"]) if row["state"] == "answered" else ""
    video = _saw(row["video_covered_s"], row["video_expected_s"]) if row["little_of_video"] else ""
    note += f" {row['severity']}" if row["severity"] else ""
    unsure = ", ".join(tag for tag, label in (row["labels"] or {}).items() if label == UNSURE)
    marks = [f"unsure: {plain(unsure)}" if unsure else "", f"outdated: {row['outdated']}" if row["outdated"] else ""]
    words = [note, *marks, "no longer due" if not row["due"] else "", part, f"{video} of the video" if video else ""]
    return Text(", ".join(word for word in words if word), style="red" if row["flagged"] else "")


def _saw(covered_s: float | None, expected_s: float | None) -> str:
    """How much was seen; empty if all was seen, or if that is not known."""
    if covered_s is None or expected_s is None or not too_little(covered_s, expected_s, 1.0):
        return ""
    return saw(covered_s, expected_s)


def failures(
    uri: Uri = None,
    reason: Annotated[str | None, typer.Option("--reason", "-r", help="Only this reason.")] = None,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """Show the videos that could not be analysed, or only in part, and why."""
    with open_database(command_settings()) as database, database.begin() as connection:
        check_reason(connection, reason)
        check_key(connection, uri, options={"--reason": list(Reason)})
        rows = reports.failures(connection, uri=uri, reason=reason, limit=limit)
        is_empty = not (rows or reports.has_video(connection, ""))
    if as_json:
        print_json([dict(row) for row in rows])
        return
    print_table(
        ("video", "status", "reason", "tries", "detail"),
        [
            (
                file_name(row["uri"]),
                row["status"],
                row["reason"],
                row["attempts"],
                plain(_detail(dict(row)), width=200),
            )
            for row in rows
        ],
    )
    _more(rows, limit, is_empty=is_empty)


def _detail(row: Mapping[str, Any]) -> str:
    part = _saw(row["covered_s"], row["expected_s"]) if row["status"] == "partly_done" else ""
    return f"{part}; {row['detail']}" if part else str(row["detail"] or "")


def retry(
    uri: Uri = None,
    reason: Annotated[str | None, typer.Option("--reason", "-r", help="Only this reason.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Retry every failure.")] = False,
) -> None:
    """Queue failed and partly done videos again; the next `nightreel analyze` of their source analyses them."""
    if not (uri or reason or every):
        raise typer.BadParameter("nothing selected: pass a part of the key, --reason or --all")
    with open_database(command_settings()) as database, database.begin() as connection:
        check_reason(connection, reason)
        check_key(connection, uri, options={"--reason": list(Reason)})
        reopened = reports.reopen_failures(connection, uri=uri, reason=reason)
    if not reopened:
        print_line("none: no failed video matches")
        return
    for name in reopened:
        print_line(plain(name))
    print_line(f"{counted(len(reopened), 'video')} queued again: run `nightreel analyze` on their source")


def _more(rows: Sequence[Any], limit: int, *, is_empty: bool) -> None:
    if not rows:
        print_line("none: this database has no videos yet" if is_empty else "none")
    elif len(rows) == limit:
        print_line(f"(the first {limit}; --limit shows more)")


def register(app: typer.Typer) -> None:
    for command in (answers, failures, retry):
        app.command()(command)
