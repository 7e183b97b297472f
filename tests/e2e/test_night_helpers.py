"""A night on several hosts: helpers work on its backlog, and all of it is one result."""

from __future__ import annotations

from uuid import uuid4

import pytest
from fixtures.chat_server import ChatServer
from fixtures.hosts import Hosts, one_by_one, wait_for
from fixtures.pipeline import Pipeline, make_clip
from prefect.client.orchestration import get_client

CLIPS, CHUNK = 40, 2
DONE = "SELECT count(*) FROM nightreel.analyses WHERE status = 'done'"
RUNNING = "SELECT count(*) FROM nightreel.runs WHERE status = 'running'"


@pytest.fixture
def slow(make_pipeline, chat_server: ChatServer, tmp_path) -> Pipeline:
    """A slow model: each host seems to have a GPU of its own."""
    chat_server.delay_s = 1.5
    for seed in range(CLIPS):
        make_clip(tmp_path / "videos" / f"{seed:02}.mp4", seed + 1)
    return make_pipeline(
        tmp_path / "videos",
        NIGHTREEL_SOURCE=str(tmp_path / "videos"),
        NIGHTREEL_WORK_POOL=f"night-{uuid4().hex[:8]}",
        NIGHTREEL_HELPERS="2",
        NIGHTREEL_LEASE_S="10",
        PREFECT_WORKER_QUERY_SECONDS="2",
        **one_by_one(tmp_path, chat_server, chunk=CHUNK),
    )


def test_a_night_is_shared_by_hosts_and_is_one_result(slow, chat_server, tmp_path):
    def logs() -> list[str]:
        return [hosts.log(name) for name in ("a", "b")]

    def state(flow_run):
        return client.read_flow_run(flow_run.id).state

    with Hosts(tmp_path, slow.environment) as hosts, get_client(sync_client=True) as client:
        hosts.deploy()
        for name in ("a", "b"):
            hosts.start(name)
        nightly = client.read_deployment_by_name("analyze-videos/nightly")
        night = client.create_flow_run_from_deployment(nightly.id)
        wait_for(lambda: slow.value(RUNNING) == 2, logs, 120)
        wait_for(lambda: state(night).is_final(), logs, 120)
        assert state(night).is_completed(), (state(night), logs())
        (leader, *helpers) = slow.rows("SELECT * FROM reporting.runs ORDER BY run_id")
        assert leader.night_id is None
        assert {helper.night_id for helper in helpers} == {leader.run_id}
        assert leader.counts["videos"] == {"done": CLIPS}
        assert leader.counts["headline"].endswith(f"; with {len(helpers)} helper{'s' * (len(helpers) > 1)}")
        assert sum(helper.counts["videos"]["done"] for helper in helpers) > 0
        children = {run.name: run for run in client.read_flow_runs() if run.parent_task_run_id}
        assert "helper 1 of " + leader.name in children
        assert children["helper 1 of " + leader.name].state.is_completed()
    assert slow.value("SELECT count(*) FROM nightreel.answers") == chat_server.questions_asked == CLIPS
