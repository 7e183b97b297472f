"""Workers on separate hosts share a backfill: each video is analysed once, even if a worker is killed."""

from __future__ import annotations

from uuid import uuid4

import pytest
from fixtures.chat_server import ChatServer
from fixtures.hosts import Hosts, one_by_one, wait_for
from fixtures.pipeline import Pipeline, make_clip
from prefect.client.orchestration import get_client

from nightreel.options import AnalyzeOptions, settings_for
from nightreel.orchestration.dispatch import dispatch
from nightreel.settings import load_settings
from nightreel.stages.backfill import list_backfill

CLIPS, A_SHARD, CHUNK = 18, 6, 2


@pytest.fixture
def slow(make_pipeline, chat_server: ChatServer, tmp_path) -> Pipeline:
    """A slow model: each host seems to have a GPU of its own."""
    chat_server.delay_s = 0.7
    for seed in range(CLIPS):
        make_clip(tmp_path / "videos" / f"{seed:02}.mp4", seed + 1)
    return make_pipeline(
        tmp_path / "videos",
        NIGHTREEL_WORK_POOL=f"many-{uuid4().hex[:8]}",
        NIGHTREEL_LEASE_S="10",
        PREFECT_WORKER_QUERY_SECONDS="2",
        **one_by_one(tmp_path, chat_server, chunk=CHUNK),
    )


def test_two_workers_share_a_backfill_and_survive_the_third(slow, chat_server, tmp_path):
    done = "SELECT count(*) FROM nightreel.analyses WHERE status = 'done'"
    running = "SELECT count(*) FROM nightreel.runs WHERE status = 'running'"

    def logs() -> list[str]:
        return [hosts.log(name) for name in ("a", "b")]

    with Hosts(tmp_path, slow.environment) as hosts, get_client(sync_client=True) as client:
        hosts.deploy()
        with list_backfill(
            AnalyzeOptions(source=slow.source),
            settings_for(AnalyzeOptions(source=slow.source)),
            database=slow.database,
            shard_videos=A_SHARD,
        ) as listed:
            listed.accept(pool=hosts.pool)
        assert dispatch(slow.database, client, load_settings(), linked=False).submitted == 3
        for name in ("a", "b"):
            hosts.start(name)
        wait_for(lambda: slow.value(running) == 2, logs, 120)
        wait_for(lambda: slow.value(done) >= CHUNK, logs, 120)
        hosts.kill("a")
        claimed = slow.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'claimed'")
        wait_for(lambda: slow.value("SELECT status FROM nightreel.backfills") == "done", logs, 120)
    assert slow.value(done) == slow.value("SELECT count(*) FROM nightreel.answers") == CLIPS
    assert slow.value("SELECT sum(done) FROM nightreel.backfill_shards") == CLIPS
    again = chat_server.questions_asked - CLIPS
    assert 0 <= again <= claimed, "only chunks in flight on the killed host are asked again"
    runs = slow.rows("SELECT status, shard_id FROM nightreel.runs ORDER BY id")
    assert sorted(run.status for run in runs) == ["completed"] * 3 + ["crashed"]
    assert len({run.shard_id for run in runs}) == 3
