"""Metrics of a run, their labels, and a port that is taken."""

from __future__ import annotations

import socket
from collections import Counter
from types import SimpleNamespace

import pytest
from fixtures.scraping import scrape_metrics

from nightreel.database.connection import Database
from nightreel.domain import Answer, AnswerState, ChunkCounts, VerdictState, VideoEnd
from nightreel.metrics import RunMetrics, serve_metrics
from nightreel.reasons import Reason
from nightreel.settings import Settings
from nightreel.stages.timings import StageTimings

NOWHERE = Database("postgresql+psycopg://nobody:nothing@127.0.0.1:1/none")


def value(metrics: RunMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def answer(state: AnswerState, **changes) -> Answer:
    given = {"text": "yes"} if state is AnswerState.MEASURED else {"reason": "empty"}
    return Answer(question_hash="q", state=state, prompt_tokens=100, generated_tokens=3, **given, **changes)


def test_a_chunk_counts_its_videos_segments_answers_and_tokens():
    metrics = RunMetrics()
    counts = ChunkCounts(
        videos=Counter({VideoEnd.DONE: 2, VideoEnd.FAILED: 1, VideoEnd.CONTINUES: 1, VideoEnd.LOST: 1}),
        reasons=Counter({Reason.NO_INDEX: 1}),
        segments=3,
        verdicts=Counter({("colours", VerdictState.ANSWERED): 1, ("colours", VerdictState.UNKNOWN): 2}),
    )
    answers = [answer(AnswerState.MEASURED), answer(AnswerState.MEASURED), answer(AnswerState.UNMEASURED)]
    metrics.written(counts, answers)
    assert value(metrics, "nightreel_videos_total", outcome="done") == 2
    assert value(metrics, "nightreel_videos_total", outcome="lost") == 1
    assert value(metrics, "nightreel_videos_total", outcome="continues") is None
    assert value(metrics, "nightreel_video_failures_total", reason="no_index") == 1
    assert value(metrics, "nightreel_segments_total") == 3
    assert value(metrics, "nightreel_answers_total", prompt_set="colours", state="unknown") == 2
    assert value(metrics, "nightreel_tokens_total", kind="prompt") == 300
    assert value(metrics, "nightreel_tokens_total", kind="generated") == 9


def test_prompt_sets_beyond_the_limit_are_counted_as_other():
    metrics = RunMetrics()
    for number in range(1000):
        verdicts = Counter({(f"set_{number}", VerdictState.ANSWERED): 1})
        metrics.written(ChunkCounts(verdicts=verdicts), [])
    samples = [
        sample
        for family in metrics.registry.collect()
        if family.name == "nightreel_answers"
        for sample in family.samples
        if sample.name.endswith("_total")
    ]
    assert len(samples) == 51
    assert sum(sample.value for sample in samples) == 1000
    assert value(metrics, "nightreel_answers_total", prompt_set="other", state="answered") == 950


def test_a_stage_is_timed_per_call_and_busy_once_for_any_number_of_threads():
    clock = SimpleNamespace(now=0.0)
    metrics = RunMetrics()
    timings = StageTimings(lambda: clock.now, on_leave=metrics.observe_stage)
    metrics.show_busy_seconds(timings.busy_s)
    with timings.stage("decode"), timings.stage("decode"):
        clock.now = 4
    with timings.stage("decode"):
        clock.now = 5
        assert value(metrics, "nightreel_stage_busy_seconds_total", stage="decode") == 5
    assert value(metrics, "nightreel_stage_seconds_count", stage="decode") == 3
    assert value(metrics, "nightreel_stage_seconds_sum", stage="decode") == 9


def test_cached_segments_are_hits_and_decoded_ones_misses():
    metrics = RunMetrics()
    metrics.count("cached_segments", 4)
    metrics.count("decoded_segments")
    metrics.count("fetched")
    assert value(metrics, "nightreel_cache_lookups_total", result="hit") == 4
    assert value(metrics, "nightreel_cache_lookups_total", result="miss") == 1
    assert value(metrics, "nightreel_work_total", what="fetched") == 1


def scrape(port: int) -> dict[str, float]:
    return {name: value for (name, _), value in scrape_metrics(port).items()}


def test_counters_are_served_during_the_block_even_without_postgres(free_port):
    metrics = RunMetrics()
    with serve_metrics(Settings(metrics_port=free_port), database=NOWHERE, registry=metrics.registry) as served:
        assert served
        metrics.count("fetched", 7)
        found = scrape(free_port)
    assert found["nightreel_work_total"] == 7
    assert found["nightreel_database_up"] == 0
    assert found["nightreel_memory_used_bytes"] > 0
    assert found["process_resident_memory_bytes"] > 0
    with pytest.raises(OSError, match="refused"):
        scrape(free_port)


def test_a_taken_port_causes_a_warning_that_names_the_setting(caplog):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with serve_metrics(Settings(metrics_port=port), database=NOWHERE) as served:
            assert not served
    assert f"port {port}" in caplog.text
    assert "NIGHTREEL_METRICS_PORT" in caplog.text


def test_nothing_is_served_unless_a_port_is_set():
    with serve_metrics(Settings(metrics_port=0), database=NOWHERE) as served:
        assert not served
