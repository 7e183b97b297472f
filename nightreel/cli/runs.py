"""`runs`: show the latest runs, or everything about one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.text import Text

from nightreel.cli.console import Json, command_settings, print_json, print_line, print_table
from nightreel.database import reports
from nightreel.errors import SettingsError
from nightreel.stages.database import open_database
from nightreel.units import human_seconds

_COLOURS = {"completed": "green", "running": "cyan", "failed": "red", "crashed": "red", "cancelled": "yellow"}


def runs(
    run: Annotated[int | None, typer.Argument(min=1, help="Number of a run: show everything about it.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many runs.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the latest runs: state, counts, duration."""
    with open_database(command_settings()) as database, database.begin() as connection:
        found = [dict(row) for row in reports.runs(connection, run_id=run, limit=limit)]
        newest = [row["run_id"] for row in reports.runs(connection, limit=1)] if run and not found else []
    if run and not found:
        there_are = f"the newest is {newest[0]}" if newest else "there is none yet"
        raise SettingsError(f"there is no run {run}: {there_are}; `nightreel runs` lists them")
    if as_json:
        print_json(found)
    elif run:
        _print_one(found[0])
    elif not found:
        print_line("no runs yet: `nightreel analyze` makes one")
    else:
        print_table(
            ("source", "run", "started", "state", "done", "failed", "answers", "time", ""), list(map(_row, found))
        )


def _row(run: Mapping[str, Any]) -> tuple[Any, ...]:
    done, failed, answers = _counts(run)
    return (
        run["source"],
        run["run_id"],
        f"{run['started_at'].astimezone():%Y-%m-%d %H:%M}",
        Text(run["status"], style=_COLOURS.get(run["status"], "")),
        done,
        failed,
        answers,
        human_seconds(run["seconds"]),
        _first_line(run["error"]),
    )


def _counts(run: Mapping[str, Any]) -> tuple[str, str, str]:
    """Videos done, videos failed and answers; empty for a run that did not report them."""
    counts = run["counts"]
    if not counts:
        return "", "", ""
    videos: Mapping[str, int] = counts.get("videos", {})
    done, failed = (sum(videos.get(end, 0) for end in ends) for ends in (("done", "reused"), ("failed", "quarantined")))
    return f"{done:,}", f"{failed:,}", f"{sum(counts.get('answers', {}).values()):,}"


def _print_one(run: Mapping[str, Any]) -> None:
    done, failed, answers = _counts(run)
    counts = run["counts"] or {}
    options = {name: value for name, value in run["options"].items() if value not in (None, [], True)}
    rows = [
        ("run", run["run_id"]),
        ("state", Text(run["status"], style=_COLOURS.get(run["status"], ""))),
        ("source", run["source"]),
        ("started", f"{run['started_at'].astimezone():%Y-%m-%d %H:%M:%S %z}"),
        ("time", human_seconds(run["seconds"])),
        ("result", counts.get("headline", "")),
        ("videos done", done),
        ("videos failed", failed),
        *((f"  failed as {reason}", count) for reason, count in counts.get("reasons", {}).items()),
        ("videos in quarantine", (counts.get("quarantine") or {}).get("videos") or ""),
        *((f"  killed runs: {runs}", uri) for uri, runs in _killers(counts)),
        ("answers", answers),
        ("error", run["error"]),
        ("model", f"{run['model']} at {run['model_revision']}"),
        ("sampling plan", run["plan"]),
        ("options", ", ".join(f"{name}={value}" for name, value in options.items())),
        ("flow run", run["flow_run_id"]),
        *((f"time in {stage}", human_seconds(seconds)) for stage, seconds in (run["timings"] or {}).items()),
    ]
    print_table(("", ""), [row for row in rows if row[1] not in (None, "")])


def _killers(counts: Mapping[str, Any]) -> list[tuple[str, int]]:
    """The quarantined videos that killed runs, each with the number of runs."""
    return [(item["uri"], item["runs"]) for item in (counts.get("quarantine") or {}).get("killed_runs", [])]


def _first_line(text: str | None) -> str:
    return (text or "").split("\n", 1)[0]


def register(app: typer.Typer) -> None:
    app.command()(runs)
