"""The main job with the language side in a real vLLM that the run starts. Skipped unless TEST_VLLM names one."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from fixtures.engine_like import wait_until_kept
from fixtures.processes import running_children

from nightreel.database import reports
from nightreel.demo.clips import draw_clip, write_clip
from nightreel.demo.grading import grade_answers, share_right
from nightreel.prompts.loading import load_prompt_sets

SETS = ("demo", "demo_moderation", "demo_tagging")
CLIPS = {f"clip-{seed}.mp4": draw_clip(f"test engine {seed}") for seed in range(8)}


def engine_processes(environment: Path) -> list[psutil.Process]:
    return running_children(str(environment), "VLLM::", "engine/warden.py", recursive=True)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with the clips."""
    made = tmp_path / "videos"
    made.mkdir()
    for name, clip in CLIPS.items():
        write_clip(made / name, clip)
    return made


@pytest.mark.timeout(1200)
def test_every_answer_is_right_though_vllm_is_killed_in_the_middle_and_none_is_lost(
    make_pipeline, vllm_environment: Path, directory: Path
) -> None:
    pipeline = make_pipeline(
        directory,
        NIGHTREEL_MODEL="vllm:demo",
        NIGHTREEL_ENGINE_DIR=str(vllm_environment),
        NIGHTREEL_PROMPTS=",".join(SETS),
        NIGHTREEL_CHUNK_SEGMENTS="2",
    )
    killed: list[int] = []

    def kill_after_the_first_answers() -> None:
        while not pipeline.value("SELECT count(*) FROM reporting.answers"):
            time.sleep(0.2)
        for process in engine_processes(vllm_environment):
            if process.cmdline()[1:3] == [str(vllm_environment / "bin" / "vllm"), "serve"]:
                process.send_signal(signal.SIGKILL)
                killed.append(process.pid)

    killer = threading.Thread(target=kill_after_the_first_answers, daemon=True)
    killer.start()
    summary = pipeline.analyze()
    killer.join(1)
    assert killed
    assert summary.videos["done"] == len(CLIPS)
    assert not engine_processes(vllm_environment)
    with pipeline.database.begin() as connection:
        rows = [dict(row) for row in reports.answers(connection, uri=f"{directory.as_uri()}/", limit=10_000)]
    grades = grade_answers(rows, CLIPS, load_prompt_sets(SETS).prompts)
    assert share_right(grades) == 1
    assert len(grades) > 100
    again = pipeline.analyze()
    assert not again.answers.total()


@pytest.mark.timeout(1200)
def test_two_runs_use_a_vllm_that_is_kept(make_pipeline, vllm_environment: Path, directory: Path) -> None:
    pipeline = make_pipeline(
        directory,
        NIGHTREEL_MODEL="vllm:demo",
        NIGHTREEL_ENGINE_DIR=str(vllm_environment),
        NIGHTREEL_PROMPTS=SETS[0],
    )
    with pipeline.start("engine", "serve") as keeper:
        wait_until_kept(keeper)
        for names in SETS[:1], SETS[1:]:
            assert pipeline.analyze(prompts=names).videos["done"] == len(CLIPS)
        own = {process.pid for process in psutil.Process(keeper.pid).children(recursive=True)}
        assert {process.pid for process in engine_processes(vllm_environment)} <= own, "the runs started none"
        keeper.send_signal(signal.SIGINT)
        assert keeper.stdout.read().endswith("stopped\n")
    assert keeper.returncode == 0
    assert not engine_processes(vllm_environment)
    with pipeline.database.begin() as connection:
        rows = [dict(row) for row in reports.answers(connection, uri=f"{directory.as_uri()}/", limit=10_000)]
    grades = grade_answers(rows, CLIPS, load_prompt_sets(SETS).prompts)
    assert share_right(grades) == 1
    assert len(grades) > 100
