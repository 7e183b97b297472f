"""Runs behind pgbouncer in transaction mode end as they do with Postgres alone."""

from __future__ import annotations

import signal
import time

import pytest
from fixtures.pipeline import PROMPT_COUNT, Pipeline, make_clip

CLIPS = 12


@pytest.fixture
def many(make_pipeline, tmp_path, pooled_url) -> Pipeline:
    for seed in range(CLIPS):
        make_clip(tmp_path / "videos" / f"{seed:02}.mp4", seed + 1)
    settings = {"NIGHTREEL_CHUNK_SEGMENTS": "2", "NIGHTREEL_LEASE_S": "4"}
    return make_pipeline(tmp_path / "videos", NIGHTREEL_DATABASE_URL=pooled_url, **settings)


def test_simultaneous_runs_share_the_work_and_none_is_taken_for_dead(many):
    processes = [many.start("analyze", many.source, "--json") for _ in range(3)]
    outputs = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert set(many.statuses().values()) == {("done", None)}
    assert many.value("SELECT count(*) FROM nightreel.answers") == CLIPS * PROMPT_COUNT
    assert many.value("SELECT max(attempts) FROM nightreel.analyses") == 1
    assert {row.status for row in many.rows("SELECT status FROM nightreel.runs")} == {"completed"}


def test_the_next_run_waits_for_the_claims_of_a_run_that_was_just_killed(many):
    process = many.start("analyze", many.source)
    deadline = time.monotonic() + 60
    while not many.value("SELECT EXISTS (SELECT FROM nightreel.analyses WHERE status = 'claimed')"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    many.analyze()
    assert set(many.statuses().values()) == {("done", None)}
    assert many.value("SELECT count(*) FROM nightreel.answers") == CLIPS * PROMPT_COUNT
    assert many.rows("SELECT status FROM nightreel.runs ORDER BY id") == [("crashed",), ("completed",)]
