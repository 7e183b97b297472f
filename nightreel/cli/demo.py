"""`demo`: the whole pipeline on a dozen clips made on the spot."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import typer

from nightreel.cli.analyze import print_summary, run
from nightreel.cli.console import plain, print_line, print_table
from nightreel.database import reports
from nightreel.options import AnalyzeOptions
from nightreel.services import open_services
from nightreel.settings import load_settings
from nightreel.stages.run import open_database

_NOISE = (
    "The demo's model is tiny and random: its words are noise, and only the pipeline around it is real.\n"
    "Set NIGHTREEL_MODEL to the directory or hub id of a video LLM for answers that mean something."
)
_CHUNK_SEGMENTS = 4  # so small that a dozen clips show several chunks in flight


def demo() -> None:
    """Make a dozen clips, analyse them, show what came out. A second time there is nothing new."""
    from nightreel.demo.videos import make_demo_videos

    settings = load_settings()
    source = make_demo_videos(settings.work_dir.resolve() / "demo" / "videos")
    print_line(f"videos: {source}")
    if settings.model == "demo":
        print_line(_NOISE, style="yellow")
    with ExitStack() as stack:
        endpoints = stack.enter_context(open_services(settings))
        print_line(f"services: {', '.join(endpoints.started) or 'none'} started for the length of this demo")
        summary = run(AnalyzeOptions(source=str(source), chunk_segments=_CHUNK_SEGMENTS))
        if summary.succeeded or summary.failed:
            database = stack.enter_context(open_database(settings))
            with database.begin() as connection:
                _show(reports.answers(connection, uri=f"{summary.source}/", limit=1000))
                failed = reports.failures(connection, uri=f"{summary.source}/")
            print_table(
                ("failed", "reason", "detail"),
                [(plain(row["uri"].rsplit("/", 1)[-1]), row["reason"], plain(row["detail"])) for row in failed],
            )
            print_line()
        print_summary(summary)
    print_line()
    print_line("where to look next, after `. .venv/bin/activate`:")
    for command, what in (
        ("nightreel answers --review", "what somebody should look at"),
        ("nightreel up && nightreel status", "keep Postgres and the Prefect UI running, and see where they are"),
        ("nightreel analyze DIRECTORY", "your own videos"),
        ("nightreel doctor", "is this machine fit for more"),
    ):
        print_line(f"  {command:34}{what}")


def _show(rows: list) -> None:
    """One line a segment: caption, answers, and what somebody should look at."""
    segments: dict[tuple[str, float], list] = {}
    for row in sorted(rows, key=lambda row: (row["uri"], row["start_s"])):
        segments.setdefault((row["uri"], row["start_s"]), []).append(row)
    print_table(
        ("video", "seconds", "caption", "answers", "to review", ""),
        [
            (
                plain(uri.rsplit("/", 1)[-1]),
                f"{start_s:.0f}-{said[0]['end_s']:.0f}",
                "".join(plain(row["answer"], width=34) for row in said if row["kind"] == "caption"),
                "  ".join(_said(row) for row in said if row["prompt_set"] == "tagging" and row["kind"] != "caption"),
                " ".join(row["prompt"] for row in said if row["needs_review"]) or "nothing",
                "reused" if said[0]["reused_from"] else "",
            )
            for (uri, start_s), said in segments.items()
        ],
    )
    print_line()


def _said(row: Mapping[str, Any]) -> str:
    answered = row["state"] == "answered"
    return plain(f"{row['prompt']}={(row['answer'] or 'none') if answered else row['state']}", width=30)


def register(app: typer.Typer) -> None:
    app.command()(demo)
