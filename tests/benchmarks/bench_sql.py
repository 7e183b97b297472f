"""Reading results: views, filters, search, sums and exports over a million answers. `make bench-sql`.

A real Postgres has 950,000 answers about 100,000 videos (`sql_rows`), and vectors of 300,000 segments (`vector_rows`).
Each statement runs as the analyst, with other
values each time; its figure is the 95th of 100 times. Goals are milliseconds, not a ratio. Plans of statements that
miss their goal are printed.
"""

from __future__ import annotations

import os
import random
import resource
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import psycopg
from benchmarks import sql_rows, vector_rows
from benchmarks.harness import Report, Row, measure
from benchmarks.sql_rows import RARE, VIDEOS

from nightreel.database.connection import Database
from nightreel.database.view_rows import read_rows, view_columns
from nightreel.search import SearchFilters, SearchQuery, search
from nightreel.services import running_database
from nightreel.services.postgres_roles import ANALYST
from nightreel.settings import load_settings
from nightreel.stages.database import open_database
from nightreel.stages.export import Format, export_rows

_RUNS = 100
_ROWS_MS, _SUMS_MS, _SEARCH_MS = 100.0, 2000.0, 150.0
_UNDER = "s3://bucket/2026/11/{folder}/"
_BY_ROWS = {
    "a page of videos": "SELECT * FROM reporting.videos WHERE video_id > {video} ORDER BY video_id LIMIT 100",
    "all answers about a video": "SELECT * FROM reporting.answers WHERE video_id = {video}",
    "all answers about a key": f"SELECT * FROM reporting.answers WHERE uri = '{_UNDER}{{video}}.mp4'",
    "the newest flagged answers of a prompt": "SELECT uri, start_s, p FROM reporting.answers "
    "WHERE prompt = 'q{prompt}' AND flagged ORDER BY answer_id DESC LIMIT 100",
    "a page of answers": "SELECT * FROM reporting.answers WHERE answer_id > {answer} ORDER BY answer_id LIMIT 100",
    "what was flagged under a prefix": "SELECT uri, prompt, severity, worst_p FROM reporting.flags "
    f"WHERE found = 'flagged' AND starts_with(uri, '{_UNDER}') ORDER BY severity DESC, worst_p DESC LIMIT 100",
    "flags of a severity, not restricted": "SELECT * FROM reporting.flags WHERE severity >= {severity} "
    "AND NOT restricted LIMIT 100",
    "what could not be judged": "SELECT uri, prompt, found, reason, ranges FROM reporting.flags "
    "WHERE found <> 'flagged' LIMIT 100",
    "all verdicts on a video": "SELECT * FROM reporting.video_answers WHERE video_id = {video}",
    "the timeline of a video": "SELECT * FROM reporting.timeline WHERE video_id = {video} ORDER BY start_s",
    "a page of segments": "SELECT * FROM reporting.segments WHERE video_id > {video} ORDER BY video_id LIMIT 100",
    "videos with a tag": "SELECT * FROM reporting.tags WHERE tag = 'sports' AND video_id > {video} LIMIT 100",
    "a page of the wide view": "SELECT * FROM reporting.wide_bench WHERE video_id > {video} "
    "ORDER BY video_id LIMIT 100",
    "videos that were never asked": "SELECT * FROM reporting.not_asked WHERE prompt = 'q5' LIMIT 100",
}
_SUMS = {
    "how many of each tag": "SELECT prompt, tag, count(*) FROM reporting.tags GROUP BY prompt, tag",
    "coverage of all days and folders": "SELECT * FROM reporting.coverage",
    "share of flags of each prompt": "SELECT prompt, avg(flagged::integer) FROM reporting.video_answers "
    "GROUP BY prompt",
}
_SEARCHES = {
    "a rare word": SearchQuery(text=RARE),
    "a word of a sixth of the documents": SearchQuery(text="dogs"),
    "two words": SearchQuery(text="dogs beach"),
    "words with a minus": SearchQuery(text="dogs -beach"),
    "a beginning": SearchQuery(text="bri*"),
    "words in a row": SearchQuery(text='"red jacket"'),
    "Chinese": SearchQuery(text="停车场"),
    "two words, flagged": SearchQuery(text="dogs beach", filters=SearchFilters(verdict="flagged")),
    "Chinese, flagged, severity 3": SearchQuery(
        text="停车场", filters=SearchFilters(verdict="flagged", min_severity=3)
    ),
    "Chinese, under a prefix": SearchQuery(text="停车场", filters=SearchFilters(under=_UNDER.format(folder="07"))),
    "two words, up to 20 s": SearchQuery(text="dogs beach", filters=SearchFilters(max_duration_s=20.0)),
}


def main(runs: int = _RUNS) -> None:
    report = Report("sql", versions=("psycopg", "sqlalchemy"))
    with tempfile.TemporaryDirectory() as directory:
        os.environ["NIGHTREEL_WORK_DIR"] = f"{directory}/work"
        settings = load_settings()
        with open_database(settings) as database:
            sql_rows.fill(database)
        with open_database(settings) as database:  # makes the wide view of the new prompt set
            analyst = running_database(settings, role=ANALYST)
            assert analyst is not None
            url = analyst.set(drivername="postgresql").render_as_string(hide_password=False)
            with psycopg.connect(url, autocommit=True) as connection:
                for name, statement in _BY_ROWS.items():
                    report.add(_timed(connection, name, statement, runs, _ROWS_MS))
                for name, statement in _SUMS.items():
                    report.add(_timed(connection, name, statement, max(5, runs // 10), _SUMS_MS))
            with closing(Database(analyst.render_as_string(hide_password=False))) as reader:
                for name, query in _SEARCHES.items():
                    report.add(_searched(reader, name, query, max(5, runs // 2)))
                for form in Format:
                    report.add(_exported(database, form, Path(directory)))
                vector_rows.add_segments(database)
                vector_rows.add_rows(report, database, reader)
    report.finish()


def _timed(connection: psycopg.Connection, name: str, statement: str, runs: int, goal_ms: float) -> Row:
    draw = random.Random(name)
    times_ms, rows = [], 0
    for _ in range(runs):
        video = draw.randrange(1, VIDEOS - 200)
        values = {
            "video": video,
            "folder": f"{video % 50:02}",
            "answer": video * 9,
            "prompt": draw.randrange(7),
            "severity": draw.randrange(1, 5),
        }
        started = time.perf_counter()
        rows = len(connection.execute(statement.format(**values)).fetchall())
        times_ms.append((time.perf_counter() - started) * 1000)
    p95 = sorted(times_ms)[int(len(times_ms) * 0.95)]
    if p95 > goal_ms:
        plan = connection.execute("EXPLAIN (ANALYZE, BUFFERS) " + statement.format(**values)).fetchall()
        print("\n".join(line for (line,) in plan), flush=True)
    return _row(name, p95, goal_ms, f"median {sorted(times_ms)[len(times_ms) // 2]:.1f} ms, {rows} rows")


def _searched(database: Database, name: str, query: SearchQuery, runs: int) -> Row:
    times_ms, page = [], None
    for _ in range(runs):
        with database.begin() as connection:
            started = time.perf_counter()
            page = search(connection, query)
            times_ms.append((time.perf_counter() - started) * 1000)
    assert page is not None
    found = f"{page.count:,}{' or more' if page.count_is_capped else ''} segments"
    note = f"median {sorted(times_ms)[len(times_ms) // 2]:.1f} ms, {found}"
    return _row(f"search: {name}", sorted(times_ms)[int(len(times_ms) * 0.95)], _SEARCH_MS, note)


def _exported(database: Database, form: Format, directory: Path) -> Row:
    """All answers, with the most used columns."""

    def export() -> int:
        with database.begin() as connection, (directory / f"answers.{form}").open("wb") as out:
            names = ("uri", "start_s", "end_s", "prompt", "answer", "p", "flagged", "answered_at")
            columns = [column for column in view_columns(connection, "answers") if column.name in names]
            return export_rows(read_rows(connection, "answers", columns, restricted=True), columns, out, form)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    done = measure(export)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    note = f"{done.value:,} rows in {done.wall_s:.0f} s; the process grew by {grown:.0f} MiB"
    return Row(f"export of all answers as {form}", grown, 0, "goal", "MiB", 0, "<= 64", grown <= 64, note)


def _row(name: str, ms: float, goal_ms: float, note: str) -> Row:
    return Row(name, ms, goal_ms, "goal", "ms", ms / goal_ms, f"<= {goal_ms:g}", ms <= goal_ms, note)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
