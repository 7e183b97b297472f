"""`nightreel engine serve` keeps vLLM between runs, under a lease. A small program stands in for vLLM.

`test_engine.py` does the same with a real one.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fixtures.engine_like import EngineLike, is_alive, wait_until_kept
from fixtures.pipeline import Pipeline, make_clip

_PROMPTS = """
name: kept
prompts:
  - {name: red, kind: yes_no, text: "Is it red?"}
"""
_MORE = """
name: more
prompts:
  - {name: blue, kind: yes_no, text: "Is it blue?"}
"""


@pytest.fixture
def pipeline(make_pipeline, engine_like: EngineLike, tmp_path: Path) -> Pipeline:
    for seed in range(2):
        make_clip(tmp_path / "videos" / f"{seed}.mp4", seed)
    prompts = tmp_path / "kept.yaml"
    prompts.write_text(_PROMPTS)
    return make_pipeline(
        tmp_path / "videos",
        NIGHTREEL_MODEL="vllm:demo",
        NIGHTREEL_ENGINE_DIR=str(engine_like.directory),
        NIGHTREEL_PROMPTS=str(prompts),
        NIGHTREEL_EMBEDDING_MODEL="none",
    )


def leased_mib(pipeline: Pipeline) -> int:
    done = subprocess.run(
        [sys.executable, "-m", "nightreel.cli", "gpu", "--json"],
        env=pipeline.environment | {"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return sum(device["leased_mib"] for device in json.loads(done.stdout)["devices"])


def test_two_runs_use_the_vllm_of_a_command_which_stops_it_and_frees_its_memory(
    pipeline: Pipeline, engine_like: EngineLike, tmp_path: Path
) -> None:
    (tmp_path / "more.yaml").write_text(_MORE)
    with pipeline.start("engine", "serve") as keeper:
        wait_until_kept(keeper)
        held = leased_mib(pipeline)
        assert pipeline.analyze().videos == {"done": 2}
        assert pipeline.analyze(prompts=(str(tmp_path / "more.yaml"),)).videos == {"done": 2}
        assert pipeline.value("SELECT count(*) FROM reporting.answers") == 4
        assert len(engine_like.starts) == 1
        assert is_alive(engine_like.starts[0])
        keeper.send_signal(signal.SIGTERM)
        assert keeper.stdout
        assert keeper.stdout.read().endswith("stopped\n")
    assert keeper.returncode == 0
    assert held > 2048
    assert leased_mib(pipeline) == 0
    assert not is_alive(engine_like.starts[0])


def test_a_keeper_that_is_killed_takes_vllm_with_it_and_the_next_run_starts_its_own(
    pipeline: Pipeline, engine_like: EngineLike
) -> None:
    with pipeline.start("engine", "serve") as keeper:
        wait_until_kept(keeper)
        keeper.kill()
    give_up_at = time.monotonic() + 10
    while is_alive(engine_like.starts[0]) and time.monotonic() < give_up_at:
        time.sleep(0.1)
    assert not is_alive(engine_like.starts[0])
    assert pipeline.analyze().videos == {"done": 2}
    assert len(engine_like.starts) == 2
