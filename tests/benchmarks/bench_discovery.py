"""A night with nothing new beside the bare listing, and the cost of a page. `make bench-discovery`.

A real S3 server (Swift, one process, on this machine) has 100,000 objects. First all are known and done in Postgres;
then 50 are removed from Postgres, so that they are new.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

import psycopg
from benchmarks.harness import Report, Row, compare, in_subprocess, take_turns, use_prefect
from fixtures.swift import running_swift

from nightreel.database.discovery import ListingFilter, discover_page
from nightreel.models.loading import describe_model
from nightreel.prompts.loading import load_prompt_sets
from nightreel.services import open_services
from nightreel.settings import load_settings
from nightreel.stages.database import open_database
from nightreel.storage import open_storage

_LISTED, _NEW = 100_000, 50
_SOURCE = "s3://listed"


def main(rounds: int = 5) -> None:
    report = Report("discovery", versions=("s3fs", "sqlalchemy", "prefect", "swift"))
    with tempfile.TemporaryDirectory() as name, running_swift(Path(name)) as server:
        os.environ |= server.environment() | {"NIGHTREEL_WORK_DIR": f"{name}/work"}
        server.client().create_bucket(Bucket=_SOURCE.removeprefix("s3://"))
        server.fill(_SOURCE.removeprefix("s3://"), _LISTED)
        with open_services(load_settings()) as services:
            use_prefect(services)
            _know_all(services.database_url)

            runs = take_turns(
                {
                    "ours": in_subprocess("benchmarks.discovery_sides:night", _SOURCE),
                    "listing": in_subprocess("benchmarks.discovery_sides:bare_listing", _SOURCE),
                },
                rounds=rounds,
                agree=lambda mine, theirs: mine["listed"] == theirs["listed"] == _LISTED and mine["work"] == {},
            )
            title = f"a night with nothing new, {_LISTED:,} objects"
            report.add(
                compare(title, runs, other="listing", metric="wall_s", at_most=1.5, note="whole run, imports included")
            )

            side = in_subprocess("benchmarks.discovery_sides:discovery", _SOURCE, services.database_url)
            found = []
            for _ in range(rounds):
                _forget_some(services.database_url)
                found.append(side().value)
            assert all((run["listed"], run["new"]) == (_LISTED, _NEW) for run in found)
            title = f"{_LISTED:,} listed, {_NEW} new"
            report.add(_memory(title, found))
            report.add(_pages(title, found))
    report.finish()


def _know_all(database_url: str) -> None:
    """Record every object as known and done, under the recipe of a run with these settings."""
    from nightreel.database.recipes import register_recipe
    from nightreel.database.runs import RunRegistration

    settings = load_settings()
    spec = describe_model(settings)
    with open_database(settings) as database:
        with database.begin() as connection:
            recipe = register_recipe(
                connection,
                model_hash=spec.hash,
                model_spec=spec.to_json(),
                plan=settings.sampling_plan,
                prompts=load_prompt_sets(settings.prompt_sets),
            )
        row = {"source": _SOURCE, "recipe_id": recipe.id, "options": {}, "settings": {}, "environment": {}}
        with RunRegistration(database, lease_s=60, **row) as run:
            assert (recipe.id, run.id) == (1, 1), "discovery_sides uses these ids"
            for page in open_storage(_SOURCE, settings).list_pages():
                with database.begin() as connection:
                    discover_page(connection, page, admit=ListingFilter(), recipe_id=recipe.id, run_id=run.id)
            run.finish("completed")
    _execute(database_url, "UPDATE nightreel.analyses SET status = 'done'", "VACUUM ANALYZE")


def _forget_some(database_url: str) -> None:
    some = f"SELECT id FROM nightreel.videos WHERE id % {_LISTED // _NEW} = 0"
    _execute(
        database_url,
        f"DELETE FROM nightreel.analyses WHERE video_id IN ({some}) OR status = 'pending'",
        "DELETE FROM nightreel.videos WHERE NOT EXISTS (SELECT FROM nightreel.analyses WHERE video_id = videos.id)",
        "INSERT INTO nightreel.analyses (video_id, recipe_id, uri, status)"
        " SELECT id, 1, uri, 'done' FROM nightreel.videos ON CONFLICT DO NOTHING",
        "VACUUM ANALYZE",
    )


def _execute(database_url: str, *statements: str) -> None:
    with psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def _memory(title: str, found: list[dict]) -> Row:
    grown = statistics.median(run["growth_mib"] for run in found)
    return Row(f"{title}: memory growth", grown, 100.0, "the goal", "MiB", grown / 100, "<= 1", grown <= 100)


def _pages(title: str, found: list[dict]) -> Row:
    """Compare the last pages with the first: medians of ten pages each, without the very first and the very last."""
    first = statistics.median(statistics.median(run["page_s"][1:11]) * 1000 for run in found)
    last = statistics.median(statistics.median(run["page_s"][-11:-1]) * 1000 for run in found)
    name = f"{title}: anti-join, last pages beside first"
    return Row(name, last, first, "first pages", "ms", last / first, "<= 1.3", last <= 1.3 * first)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
