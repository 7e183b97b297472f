"""However a run ends, the next run completes the work: nothing is lost and nothing is done twice."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest
from fixtures.pipeline import PROMPT_COUNT, Pipeline, make_clip

CLIPS = 12
# When to kill a run: the first time that the query is true.
POINTS = {
    "while its first chunk is decoded": "SELECT EXISTS (SELECT FROM nightreel.analyses WHERE status = 'claimed')",
    "between features and answers": "SELECT EXISTS (SELECT FROM nightreel.features)",
    "between one chunk's commit and the next": "SELECT EXISTS (SELECT FROM nightreel.analyses WHERE status = 'done')",
}


@pytest.fixture
def many(make_pipeline, tmp_path) -> Pipeline:
    for seed in range(CLIPS):
        make_clip(tmp_path / "videos" / f"{seed:02}.mp4", seed + 1)
    return make_pipeline(tmp_path / "videos", NIGHTREEL_CHUNK_SEGMENTS="2", NIGHTREEL_LEASE_S="5")


def wait_until(pipeline: Pipeline, query: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not pipeline.value(query):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("point", POINTS)
def test_the_next_run_finishes_the_work_of_a_killed_run(many, point):
    process = many.start("analyze", many.source)
    wait_until(many, POINTS[point], process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = many.rows("SELECT id, answered_at FROM nightreel.answers ORDER BY id")
    known = many.value("SELECT count(*) FROM nightreel.features")
    assert len(before) < CLIPS * PROMPT_COUNT, "the run was killed too late to prove anything"
    summary = many.analyze()
    assert set(many.statuses().values()) == {("done", None)}
    assert many.value("SELECT count(*) FROM reporting.answers") == CLIPS * PROMPT_COUNT
    after = many.rows("SELECT id, answered_at FROM nightreel.answers ORDER BY id")
    assert after[: len(before)] == before, "answered questions are not asked again"
    assert summary.work["decoded_segments"] == CLIPS - known, "cached segments are not decoded again"
    assert many.rows("SELECT status FROM nightreel.runs ORDER BY id") == [("crashed",), ("completed",)]
    assert not list((many.work_dir / "spool").rglob("*.mp4"))


def test_two_simultaneous_runs_share_the_work_without_overlap(many):
    processes = [many.start("analyze", many.source, "--json") for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert set(many.statuses().values()) == {("done", None)}
    assert many.value("SELECT count(*) FROM nightreel.answers") == CLIPS * PROMPT_COUNT
    counts = many.rows("SELECT (counts -> 'work' ->> 'decoded_segments')::int FROM nightreel.runs")
    assert sum(count or 0 for (count,) in counts) == CLIPS


def test_an_interrupted_run_reports_it_and_releases_its_claims_uncharged(many):
    process = many.start("analyze", many.source)
    wait_until(many, POINTS["between one chunk's commit and the next"], process)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert "interrupted" in output
    assert many.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'claimed'") == 0
    assert many.value("SELECT max(attempts) FROM nightreel.analyses WHERE status = 'pending'") == 0
    assert many.value("SELECT status FROM nightreel.runs") == "cancelled"
    assert many.analyze().is_green
