"""The hourly retry on real parts: videos that failed while the storage was down are done once it is up again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.pipeline import PROMPT_COUNT, Pipeline, make_clip
from prefect.exceptions import ParameterTypeError

from flows.retry_failed import retry_failed
from flows.sweep_videos import sweep_videos
from nightreel.options import RetryOptions, SweepOptions

QUIET = """
import sys
from flows.retry_failed import retry_failed
state = retry_failed(return_state=True)
print(state.name, "|", state.message, "|", sorted({"torch", "transformers", "av", "decord"} & set(sys.modules)))
"""


def fail_while_away(pipeline: Pipeline, source: Path) -> None:
    """A run, an hour ago, that listed the videos of a directory and could not fetch them."""
    away = source.with_name(f"{source.name} away")
    source.rename(away)
    assert pipeline.analyze(listing=False).videos["quarantined"] > 0
    away.rename(source)
    an_hour_later(pipeline)


def an_hour_later(pipeline: Pipeline) -> None:
    with pipeline.database.begin() as connection:
        connection.exec_driver_sql("UPDATE nightreel.analyses SET updated_at = updated_at - interval '1 hour'")


@pytest.fixture
def impatient(make_pipeline, clips) -> Pipeline:
    """One attempt a video; of three videos, one is done and two are known."""
    pipeline = make_pipeline(clips, NIGHTREEL_MAX_ATTEMPTS="1")
    assert pipeline.analyze(limit=1).videos == {"done": 1}
    return pipeline


def test_videos_that_failed_while_the_storage_was_down_are_done_under_their_original_prompts(
    impatient, clips, tmp_path, monkeypatch
):
    fail_while_away(impatient, clips)
    assert sorted(impatient.statuses().values()) == [("done", None), *[("quarantined", "storage_unreachable")] * 2]
    other = tmp_path / "other.yaml"
    other.write_text('name: other\nprompts: [{name: blue, kind: yes_no, text: "Is there something blue?"}]')
    monkeypatch.setenv("NIGHTREEL_PROMPTS", str(other))
    monkeypatch.setenv("NIGHTREEL_PLAN", "uniform:2")
    monkeypatch.setenv("NIGHTREEL_SOURCE", str(tmp_path / "elsewhere"))

    state = retry_failed(return_state=True)
    assert state.is_completed()
    assert state.message == "2 videos retried in 1 run"
    assert set(impatient.statuses().values()) == {("done", None)}
    assert impatient.value("SELECT count(*) FROM reporting.answers WHERE prompt <> 'blue'") == 3 * PROMPT_COUNT
    assert impatient.value("SELECT count(*) FROM reporting.answers") == 3 * PROMPT_COUNT
    runs = impatient.rows("SELECT recipe_id, status, counts -> 'listing' ->> 'listed' FROM nightreel.runs ORDER BY id")
    assert runs[1:] == [(runs[0].recipe_id, "failed", "0"), (runs[0].recipe_id, "completed", "0")]
    assert impatient.value("SELECT count(*) FROM nightreel.recipes") == 1


def test_without_due_failures_no_run_starts_and_no_torch_is_imported(impatient):
    command = [sys.executable, "-c", QUIET]
    done = subprocess.run(
        command, env={**os.environ, **impatient.environment}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "Completed | no failed video is due for a retry | []"
    assert impatient.value("SELECT count(*) FROM nightreel.runs") == 1


def test_videos_that_fail_again_are_no_alarm(impatient, clips):
    fail_while_away(impatient, clips)
    clips.rename(clips.with_name("away for good"))
    state = retry_failed(return_state=True)
    assert (state.is_completed(), state.message) == (True, "2 videos retried in 1 run")
    assert impatient.rows("SELECT name, status FROM nightreel.runs ORDER BY id") == [
        ("analyze videos", "completed"),
        ("analyze videos", "failed"),
        ("retry videos", "completed"),
    ]
    assert impatient.statuses()["2.mp4"] == ("quarantined", "storage_unreachable")


def test_a_run_that_stops_fails_the_flow_but_not_the_other_runs(impatient, clips, tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTREEL_MAX_SAME_FAILURES", "2")
    make_clip(tmp_path / "more" / "9.mp4", 9)
    more = Pipeline(str(tmp_path / "more"), impatient.database, impatient.environment, impatient.work_dir)
    sweep_videos(SweepOptions(source=more.source))
    fail_while_away(more, tmp_path / "more")
    fail_while_away(impatient, clips)
    clips.rename(tmp_path / "away for good")

    state = retry_failed(RetryOptions(limit=10), return_state=True)
    assert state.is_failed()
    assert state.message.startswith("3 videos retried in 2 runs, 1 failed: recipe ")
    assert f"file://{clips}: stopped early: the first 2 videos failed with the same error" in state.message
    assert impatient.statuses()["9.mp4"] == ("done", None)
    assert impatient.statuses()["2.mp4"] == ("quarantined", "storage_unreachable")
    assert sorted(impatient.rows("SELECT reopened FROM nightreel.analyses")) == [(0,), (1,), (1,), (1,)]
    an_hour_later(impatient)
    assert retry_failed(return_state=True).message.startswith("no failed video is due"), "due after two hours"


def test_the_options_are_bounded():
    with pytest.raises(ParameterTypeError, match="limit"):
        retry_failed.validate_parameters({"options": {"limit": 0}})
    properties = retry_failed.parameters.model_dump()["definitions"]["RetryOptions"]["properties"]
    assert properties["limit"]["default"] == 500
