"""A video is erased after real nights: no table, store, spool or record of Prefect names it, and no run finds it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fixtures.pipeline import Pipeline
from prefect.client.orchestration import get_client
from sqlalchemy import text
from typer.testing import CliRunner

from nightreel.cache.previews import PreviewStore
from nightreel.cli.app import app
from nightreel.options import RetentionOptions

EVENTS = {"events", "event_resources"}
"""Tables of Prefect that no call of its API clears: it does so itself, after days."""


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def in_tables(pipeline: Pipeline, *needles: str) -> list[tuple[str, str]]:
    """The tables of our schema with a row that has one of these texts anywhere."""
    tables = [row[0] for row in pipeline.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'nightreel'")]
    assert len(tables) > 40
    with pipeline.database.begin() as connection:
        return [
            (table, needle)
            for table in tables
            for needle in needles
            if connection.execute(
                text(f'SELECT count(*) FROM nightreel."{table}" AS one WHERE strpos(one::text, :needle) > 0'),
                {"needle": needle},
            ).scalar()
        ]


def in_files(directory: Path, *needles: str) -> list[tuple[Path, str]]:
    """The files below a directory whose name or content has one of these texts."""
    return [
        (path, needle)
        for path in directory.rglob("*")
        if path.is_file()
        for needle in needles
        if needle in str(path.relative_to(directory)) or needle.encode() in path.read_bytes()
    ]


def in_prefect(home: Path, *needles: str) -> set[str]:
    """The tables of Prefect's database with one of these texts."""
    (path,) = home.rglob("prefect.db")
    found = set()
    with closing(sqlite3.connect(path, timeout=60)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert len(tables) > 20
        for table in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                said = " ".join(map(str, row))
                if any(needle in said for needle in needles):
                    found.add(table)
    return found


def erase(*arguments: str):
    said = CliRunner().invoke(app, ["erase", *arguments, "--reason", "asked by letter", "--yes", "--json"])
    assert said.exception is None or isinstance(said.exception, SystemExit), said.exception
    return said


@pytest.fixture
def night(pipeline, clips) -> Iterator[Pipeline]:
    """A night over three clips, a copy and a broken one; then a run that names one of them."""
    shutil.copy(clips / "1.mp4", clips / "copy of 1.mp4")
    (clips / "broken.mp4").write_bytes((clips / "2.mp4").read_bytes()[:2000])
    pipeline.analyze()
    pipeline.start("analyze", str(clips / "1.mp4"), str(clips / "broken.mp4")).communicate(timeout=240)
    return pipeline


def test_nothing_names_an_erased_video_and_no_run_brings_it_back(night, clips, prefect_program):
    content, uri = sha256(clips / "1.mp4"), (clips / "1.mp4").as_uri()
    copy = (clips / "copy of 1.mp4").as_uri()
    broken = (clips / "broken.mp4").as_uri()
    needles = (content, uri, copy, broken, "copy of 1.mp4", "broken.mp4", sha256(clips / "broken.mp4"))
    with get_client(sync_client=True) as client:
        record = {"name": "test", "level": 20, "timestamp": datetime.now(UTC).isoformat(), "message": f"read {copy!r}"}
        client.create_logs(
            [record | {"flow_run_id": night.value("SELECT flow_run_id FROM nightreel.runs WHERE id = 2")}]
        )
    PreviewStore(night.work_dir / "previews", 2**20).put(content, "0" * 64, b"a film")
    before = {path for path in (night.work_dir / "features").rglob("*") if path.is_file()}
    keys = [row[0] for row in night.rows(f"SELECT key FROM nightreel.features WHERE content_sha256 = '{content}'")]
    assert {table for table, _ in in_tables(night, *needles)} >= {"videos", "analyses", "features", "runs"}
    assert in_prefect(prefect_program.directory, *needles) >= {"flow_run", "log", "artifact"}

    first, second = erase(content), erase(str(clips / "broken.mp4"))
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    report = json.loads(first.stdout)
    assert report["counts"]["videos"] == 2
    assert report["files"] == 2 * len(keys) > 0
    assert report["previews"] == 1
    assert report["prefect"]["flow_runs"] >= 1
    assert any("backups" in place for place in report["out_of_reach"])

    assert in_tables(night, *needles, *keys) == []
    assert in_files(night.work_dir, *needles, *keys) == []
    assert len(before) - len([path for path in before if path.exists()]) == report["files"]
    for _ in range(50):  # the server deletes logs after the response
        if not in_prefect(prefect_program.directory, *needles) - EVENTS:
            break
        time.sleep(0.2)
    assert in_prefect(prefect_program.directory, *needles) - EVENTS == set()

    summary = night.analyze()
    assert summary.listing.erased == 3
    assert summary.listing.added == 0
    shutil.copy(clips / "1.mp4", clips / "new.mp4")
    night.analyze()
    assert night.statuses()["new.mp4"] == ("failed", "erased")
    assert in_tables(night, content, uri, copy) == []
    assert set(night.statuses()) == {"2.mp4", "3.mp4", "new.mp4"}


def test_a_killed_erasure_finishes_when_it_is_repeated(night, clips):
    """Whatever point it is killed at: files go first, and the rows that name them last."""
    uri, content = (clips / "2.mp4").as_uri(), sha256(clips / "2.mp4")
    command = """
import os, signal, sys
from nightreel.stages import erase
def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(erase, sys.argv.pop(1), killed)
from nightreel.cli.app import main
main()
"""
    for point in ("forget_feature_files", "delete_unindexed", "_delete_spooled", "erase_rows"):
        arguments = [point, "erase", uri, "--reason", "test", "--yes"]
        done = subprocess.run(
            [sys.executable, "-c", command, *arguments], env={**os.environ, **night.environment}, check=False
        )
        assert done.returncode == -signal.SIGKILL, point
        assert night.value(f"SELECT count(*) FROM nightreel.videos WHERE uri = '{uri}'") == 1
    assert erase(uri).exit_code == 0
    assert in_tables(night, uri, content) == []
    assert in_files(night.work_dir, uri, content) == []
    again = erase(uri)
    assert json.loads(again.stdout)["erased_before_by"] == [json.loads(again.stdout)["erased_before_by"][0]]
    assert night.value("SELECT count(*) FROM nightreel.erasures") == 1


def test_the_flow_of_retention_erases_what_is_too_old(pipeline):
    from flows.apply_retention import apply_retention

    pipeline.analyze()
    assert apply_retention(return_state=True).message == "0 videos erased, 0 left for the next time"
    aged = "UPDATE nightreel.videos SET discovered_at = now() - interval '2 days' WHERE uri LIKE '%/1.mp4' RETURNING 1"
    assert len(pipeline.rows(aged)) == 1
    state = apply_retention(RetentionOptions(keep_days=1), return_state=True)
    assert (state.is_completed(), state.message) == (True, "1 video erased, 0 left for the next time")
    assert set(pipeline.statuses()) == {"2.mp4", "3.mp4"}
    assert pipeline.analyze().listing.erased == 1
