"""A night on several hosts: helpers work on its backlog, and all of it is one result."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from fixtures.chat_server import ChatServer
from fixtures.hosts import Hosts, one_by_one, wait_for
from fixtures.pipeline import Pipeline, make_clip
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.states import Cancelling, Suspended
from sqlalchemy import text

from nightreel.database.nights import require_no_night
from nightreel.errors import NightreelError, SettingsError
from nightreel.orchestration.part_runs import submit_helper

CLIPS, CHUNK = 40, 2
SLOW_S, FAST_S = 1.5, 0.2  # of an answer: while helpers start, and once they work
DONE = "SELECT count(*) FROM nightreel.analyses WHERE status = 'done'"
RUNNING = "SELECT count(*) FROM nightreel.runs WHERE status = 'running'"


@pytest.fixture
def slow(make_pipeline, chat_server: ChatServer, tmp_path) -> Pipeline:
    """A slow model: each host seems to have a GPU of its own."""
    chat_server.delay_s = SLOW_S
    for seed in range(CLIPS):
        make_clip(tmp_path / "videos" / f"{seed:02}.mp4", seed + 1)
    return make_pipeline(
        tmp_path / "videos",
        NIGHTREEL_SOURCE=str(tmp_path / "videos"),
        NIGHTREEL_WORK_POOL=f"night-{uuid4().hex[:8]}",
        NIGHTREEL_HELPERS="1",
        NIGHTREEL_LEASE_S="10",
        PREFECT_WORKER_QUERY_SECONDS="2",
        **one_by_one(tmp_path, chat_server, chunk=CHUNK),
    )


class Night:
    """A pool with hosts, and its deployment `nightly`."""

    def __init__(self, pipeline: Pipeline, hosts: Hosts, client: SyncPrefectClient) -> None:
        self.pipeline, self.hosts, self.client = pipeline, hosts, client
        self._nightly = client.read_deployment_by_name("analyze-videos/nightly").id

    def start(self) -> UUID:
        return self.client.create_flow_run_from_deployment(self._nightly).id

    def state(self, flow_run: UUID) -> State:
        return self.client.read_flow_run(flow_run).state

    def wait(self, flow_run: UUID) -> State:
        wait_for(lambda: self.state(flow_run).is_final(), self.logs, 150)
        return self.state(flow_run)

    def wait_until(self, query: str, least: int) -> None:
        wait_for(lambda: self.pipeline.value(query) >= least, self.logs, 150)

    def logs(self) -> list[str]:
        return [self.hosts.log(name) for name in ("a", "b")]

    def runs(self) -> list[Any]:
        return self.pipeline.rows("SELECT * FROM reporting.runs ORDER BY run_id")

    def host_of(self, run: Any) -> str:
        """The host whose log names the flow run."""
        return next(name for name in ("a", "b") if run.flow_run_id in self.hosts.log(name))


@pytest.fixture
def night(slow, tmp_path) -> Iterator[Night]:
    with _night(slow, tmp_path) as night:
        for name in ("a", "b"):
            night.hosts.start(name)
        yield night


@contextmanager
def _night(pipeline: Pipeline, directory: Path) -> Iterator[Night]:
    """A night without hosts."""
    with Hosts(directory, pipeline.environment) as hosts, get_client(sync_client=True) as client:
        hosts.deploy()
        yield Night(pipeline, hosts, client)


def test_a_night_is_shared_by_hosts_goes_on_without_its_own_run_and_ends_as_one(night, slow, chat_server):
    first = night.start()
    night.wait_until(RUNNING, 2)
    chat_server.delay_s = FAST_S
    assert night.wait(first).is_completed(), night.logs()
    (leader, *helpers) = night.runs()
    assert leader.night_id is None
    assert {helper.night_id for helper in helpers} == {leader.run_id}
    assert leader.counts["videos"] == {"done": CLIPS}
    assert leader.counts["headline"].endswith("; with 1 helper")
    assert sum(helper.counts["videos"].get("done", 0) for helper in helpers) > 0
    children = {run.name: run for run in night.client.read_flow_runs() if run.parent_task_run_id}
    assert children[f"helper 1 of {leader.name}"].state.is_completed()
    assert slow.value("SELECT count(*) FROM nightreel.answers") == chat_server.questions_asked == CLIPS

    late = submit_helper(night.hosts.pool, night_id=leader.run_id, night_name=leader.name, number=9, linked=False)
    assert night.wait(UUID(late)).message == f"run {leader.run_id} needs no more help"
    quiet = night.start()
    assert night.wait(quiet).message.startswith("nothing new")
    assert len(night.runs()) == len(helpers) + 2, "neither the late helper nor one of a quiet night is a run"

    _forget(slow)
    chat_server.delay_s = SLOW_S
    asked = chat_server.questions_asked
    night.start()
    night.wait_until(RUNNING, 2)
    night.wait_until(DONE, 6)
    leader, helper = night.runs()[-2:]
    killed = night.host_of(leader)
    night.hosts.kill(killed)
    chat_server.delay_s = FAST_S
    claimed = slow.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'claimed'")
    night.wait_until(DONE, CLIPS)
    again = chat_server.questions_asked - asked - CLIPS
    assert 0 <= again <= claimed, "only chunks in flight on the killed host are asked again"
    assert slow.value("SELECT count(*) FROM nightreel.answers") == CLIPS
    assert helper.night_id == leader.run_id

    _forget(slow)
    chat_server.delay_s = SLOW_S
    night.hosts.start(killed)
    cancelled = night.start()
    night.wait_until(RUNNING, 2)
    night.client.set_flow_run_state(cancelled, Suspended(timeout_seconds=300))
    wait_for(lambda: slow.value(RUNNING) == 0, night.logs, 60)
    assert night.state(cancelled).is_paused()
    assert [run.status for run in night.runs()[-2:]] == ["cancelled", "completed"]
    done = slow.value(DONE)
    assert done < CLIPS
    time.sleep(5)  # Prefect's worker breaks if a run is resumed while its process still ends
    chat_server.delay_s = 2 * SLOW_S  # or what is left is not worth a helper
    night.client.resume_flow_run(cancelled)
    night.wait_until(RUNNING, 2)
    with pytest.raises(NightreelError, match="still analyses"), slow.database.begin() as connection:
        require_no_night(connection, source=leader.source, recipe_id=slow.value("SELECT id FROM nightreel.recipes"))
    night.client.set_flow_run_state(cancelled, Cancelling())
    night.wait(cancelled)
    wait_for(lambda: slow.value(RUNNING) == 0, night.logs, 60)
    leader, helper = night.runs()[-2:]
    assert leader.status in ("cancelled", "crashed"), "crashed, if it was killed before it could say so"
    assert helper.status in ("completed", "cancelled"), "cancelled, if Prefect ended it before it saw the leader's end"
    assert helper.status == "cancelled" or "was cancelled or paused" in helper.counts["headline"]
    assert slow.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'claimed'") == 0
    assert done <= slow.value(DONE) < CLIPS


def test_a_host_that_only_lists_leaves_the_analysis_to_others(slow, chat_server, tmp_path):
    chat_server.delay_s = FAST_S
    with _night(slow, tmp_path) as night:
        night.hosts.start("a", NIGHTREEL_LISTS_ONLY="true")
        night.hosts.start("b", "--queue", "helpers")
        assert night.wait(night.start()).is_completed(), night.logs()
        leader, helper = night.runs()
        assert leader.counts["videos"] == helper.counts["videos"] == {"done": CLIPS}
        assert (leader.counts["device"], helper.counts["device"]) == ("", f"{platform.node()} server")
        served = next(line for line in night.hosts.log("a").splitlines() if line.startswith("a serves"))
        assert "nightly" in served
        assert "helpers" not in served
        assert "backfill" not in served


def test_a_run_that_only_lists_is_refused_without_helpers(slow, monkeypatch):
    monkeypatch.setenv("NIGHTREEL_LISTS_ONLY", "true")
    with pytest.raises(SettingsError, match="and this run has none: let its worker"):
        slow.analyze()


def _forget(pipeline: Pipeline) -> None:
    """Make all videos new work again."""
    wait_for(lambda: pipeline.value(RUNNING) == 0, lambda: "a run is still running", 60)
    with pipeline.database.begin() as connection:
        for statement in ("DELETE FROM nightreel.answers", "UPDATE nightreel.analyses SET status = 'pending'"):
            connection.execute(text(statement))
