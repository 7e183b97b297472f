"""What a run reports while it works: metrics for Prometheus, log records with run and video."""

from __future__ import annotations

import io
import json
import logging

import pytest
from fixtures.pipeline import PROMPT_COUNT
from fixtures.scraping import scrape_metrics

from nightreel.logs import FAILURES, JsonFormatter
from nightreel.options import AnalyzeOptions
from nightreel.orchestration.runs import Caller, caller
from nightreel.settings import load_settings
from nightreel.stages.summary import RunSummary


@pytest.fixture
def records():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger(FAILURES)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_run_serves_metrics_while_it_works_and_logs_failures(make_pipeline, clips, free_port, records):
    from flows.analyze_videos import analyze_videos

    (clips / "broken.mp4").write_bytes((clips / "1.mp4").read_bytes()[:2000])
    pipeline = make_pipeline(clips, NIGHTREEL_METRICS_PORT=str(free_port))
    told: list[tuple] = []

    def scrape(summary: RunSummary) -> None:
        told.append((summary.run_id, scrape_metrics(free_port)))

    token = caller.set(Caller(settings=load_settings(), on_progress=scrape))
    try:
        analyze_videos(AnalyzeOptions(source=pipeline.source), return_state=True)
    finally:
        caller.reset(token)
    run_id, found = told[-1]

    def value(name: str, *labels: str) -> float | None:
        return found.get((f"nightreel_{name}", frozenset(labels)))

    assert (value("videos_total", "done"), value("videos_total", "failed")) == (3, 1)
    assert value("video_failures_total", "no_index") == 1
    assert value("segments_total") == 3
    states = ("answered", "unknown", "error")
    assert sum(value("answers_total", "small", state) or 0 for state in states) == 3 * PROMPT_COUNT
    assert value("cache_lookups_total", "miss") == 3
    assert value("stage_busy_seconds_total", "model.vision") > 0
    assert value("stage_seconds_count", "decode") == 3
    assert value("tokens_total", "prompt") > 0
    assert value("runs", "running") == 1
    assert value("analyses", "claimed") is not None
    assert sum(size for (name, _), size in found.items() if name == "nightreel_memory_leasable_bytes") > 0
    with pytest.raises(OSError, match="refused"):
        scrape_metrics(free_port)

    failed = records()
    assert [(record["run"], record["video"].rsplit("/", 1)[1]) for record in failed] == [(run_id, "broken.mp4")]
    assert failed[0]["message"].startswith("failed: no_index: ")
