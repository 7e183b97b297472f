"""A run with a limited feature cache: disk use stays below the limit, and no answer is lost."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from fixtures.pipeline import PROMPT_COUNT, Pipeline, make_clip
from typer.testing import CliRunner

from nightreel.cache.check import CacheCheck
from nightreel.cache.eviction import evict
from nightreel.cache.features import FeatureCache
from nightreel.cli.app import app
from nightreel.options import EvictOptions
from nightreel.settings import load_settings
from nightreel.stages.cache import open_cache

ONE_MORE = """
name: more
prompts: [{name: dog, kind: yes_no, text: "Is there a dog?"}]
"""
CLIPS = 6


def gib(size_bytes: float) -> str:
    return repr(size_bytes / 2**30)


def size_bytes(pipeline: Pipeline) -> int:
    return int(pipeline.value("SELECT coalesce(sum(size_bytes), 0) FROM nightreel.features WHERE uri IS NOT NULL"))


def cache_of(pipeline: Pipeline) -> FeatureCache:
    return open_cache(load_settings(), pipeline.database)


def disagreements(pipeline: Pipeline) -> list:
    return list(CacheCheck(pipeline.database, cache_of(pipeline), deep=True, grace_s=-5).findings())


def assert_all_answered(pipeline: Pipeline, prompts: int) -> None:
    assert set(pipeline.statuses().values()) == {("done", None)}
    assert pipeline.value("SELECT count(*) FROM reporting.answers WHERE state <> 'error'") == CLIPS * prompts


@pytest.fixture
def many(make_pipeline, tmp_path) -> Pipeline:
    for seed in range(CLIPS):
        make_clip(tmp_path / "videos" / f"{seed}.mp4", seed + 1)
    (tmp_path / "more.yaml").write_text(ONE_MORE)
    # One attempt: an eviction that costs a video its answers shows as a failure.
    return make_pipeline(tmp_path / "videos", NIGHTREEL_CHUNK_SEGMENTS="2", NIGHTREEL_MAX_ATTEMPTS="1")


def test_a_run_stays_below_the_limit_and_the_next_prompt_uses_the_remaining_features(many, tmp_path, monkeypatch):
    assert many.analyze(limit=2).succeeded == 2
    room = 3.5 * size_bytes(many) / 2
    monkeypatch.setenv("NIGHTREEL_CACHE_LIMIT_GIB", gib(room))
    work = many.analyze().work
    assert size_bytes(many) <= room
    assert work["evicted_features"] == CLIPS - 3
    assert_all_answered(many, PROMPT_COUNT)
    assert disagreements(many) == []

    monkeypatch.delenv("NIGHTREEL_CACHE_LIMIT_GIB")
    work = many.analyze(prompts=(str(tmp_path / "more.yaml"),)).work
    assert (work["cached_segments"], work["decoded_segments"]) == (3, CLIPS - 3)
    assert many.value("SELECT count(*) FROM reporting.answers WHERE prompt = 'dog'") == CLIPS
    assert disagreements(many) == []


def test_constant_eviction_costs_a_run_only_repeated_computation(many, tmp_path):
    stop = threading.Event()
    evicted = []

    def evict_all_the_time() -> None:
        while not stop.is_set():
            evicted.append(evict(many.database, cache_of(many), limit_bytes=0).features)

    evictor = threading.Thread(target=evict_all_the_time)
    evictor.start()
    try:
        many.analyze()
        many.analyze(prompts=(str(tmp_path / "small.yaml"), str(tmp_path / "more.yaml")))
    finally:
        stop.set()
        evictor.join()
    assert sum(evicted) > CLIPS, "without evictions, this test proves nothing"
    assert_all_answered(many, PROMPT_COUNT + 1)
    assert disagreements(many) == []


def test_a_moved_cache_is_filled_again(many, tmp_path, monkeypatch):
    many.analyze(limit=1)
    monkeypatch.setenv("NIGHTREEL_CACHE_URL", (tmp_path / "other").as_uri())
    work = many.analyze(prompts=(str(tmp_path / "more.yaml"),), limit=1).work
    assert (work["decoded_segments"], work.get("cached_segments", 0)) == (1, 0)
    assert many.value("SELECT count(*) FROM reporting.answers WHERE prompt = 'dog'") == 1
    assert list((tmp_path / "other").rglob("*.parquet"))


def test_the_commands_and_the_flow_trim_the_cache_to_its_limit_and_repair_it(many, monkeypatch):
    from flows.evict_cache import evict_cache

    many.analyze(limit=4)
    whole = size_bytes(many)
    assert evict_cache(EvictOptions(to_gib=whole / 2 / 2**30), return_state=True).is_completed()
    assert whole / 4 < size_bytes(many) <= whole / 2
    unlimited = evict_cache(return_state=True)
    assert unlimited.is_completed(), "a scheduled run finds nothing to do"
    assert "NIGHTREEL_CACHE_LIMIT_GIB" in unlimited.message

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["cache", *arguments], catch_exceptions=False)
        return done.exit_code, done.output

    assert run("check")[0] == 0
    Path(many.value("SELECT uri FROM nightreel.features WHERE uri IS NOT NULL").removeprefix("file://")).unlink()
    status, output = run("check")
    assert (status, "no file\t1\t0" in output) == (1, True), output
    status, output = run("check", "--repair")
    assert (status, "no file\t1\t1" in output) == (0, True), output
    status, output = run("evict", "--to", "0")
    assert (status, "1 features" in output) == (0, True), output
    assert "features\t0" in run()[1]
