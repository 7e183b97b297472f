"""A Prefect server that goes away in mid-run costs the run its server, not its work, and no flow run stays RUNNING."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psutil
import pytest
from fixtures.pipeline import PROMPT_COUNT, Pipeline, make_clip
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.states import Running
from sqlalchemy import text

from flows.analyze_videos import analyze_videos
from flows.retry_failed import retry_failed
from nightreel.database.memory_queue import enqueue, record_grant
from nightreel.domain import MemoryRequest
from nightreel.errors import SettingsError
from nightreel.gpu import memory_devices
from nightreel.orchestration import runs
from nightreel.orchestration.dead_flow_runs import end_dead_flow_runs
from nightreel.services.prefect_server import PrefectApi, PrefectServer
from nightreel.services.process import SharedServer

CLIPS = 12
DONE = "SELECT EXISTS (SELECT FROM nightreel.analyses WHERE status = 'done')"
WAITS = "SELECT EXISTS (SELECT FROM nightreel.memory_leases WHERE granted = '{}')"


@pytest.fixture
def own_server(tmp_path) -> Iterator[tuple[PrefectApi, int]]:
    """The address and the process of a Prefect server that this test may kill."""
    program = PrefectServer(tmp_path / "own-prefect")
    server = SharedServer(program)
    server.join()
    try:
        port = server.wait_ready()
        (listener,) = {
            connection.pid
            for connection in psutil.net_connections("tcp4")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid
        }
        yield program.api(port), listener
    finally:
        server.leave()


@pytest.fixture
def pipeline_of(make_pipeline, tmp_path) -> Callable[..., Pipeline]:
    """`pipeline_of(server, NAME=value)`: a pipeline with clips, one a chunk, that uses this Prefect server."""

    def make(server: tuple[PrefectApi, int], *, clips: int = CLIPS, **settings: str) -> Pipeline:
        api, _ = server
        for seed in range(clips):
            make_clip(tmp_path / "videos" / f"{seed:02}.mp4", seed + 1)
        return make_pipeline(
            tmp_path / "videos",
            PREFECT_API_URL=api.url,
            PREFECT_API_AUTH_STRING=api.auth_string,
            NIGHTREEL_CHUNK_SEGMENTS="1",
            **settings,
        )

    return make


def wait_until(query: str, pipeline: Pipeline, process: subprocess.Popen[str]) -> None:
    while not pipeline.value(query):
        assert process.poll() is None
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hanging"])
def test_a_run_without_its_server_writes_its_row_and_ends_with_one_sentence(pipeline_of, own_server, how):
    _, pid = own_server
    pipeline = pipeline_of(own_server, NIGHTREEL_PREFECT_PATIENCE_S="3")
    process = pipeline.start("analyze", pipeline.source)
    wait_until(DONE, pipeline, process)
    os.kill(pid, how)
    killed_at = time.monotonic()
    try:
        output = process.communicate(timeout=110)[0]
        took_s = time.monotonic() - killed_at
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert process.returncode == 1, output
    assert took_s < 100, "before the lease on device memory ends, after 120 s"
    assert "Traceback" not in output
    (said,) = [line for line in output.splitlines() if line.startswith("error:")]
    assert "Prefect server" in said
    row = pipeline.rows("SELECT status, counts FROM nightreel.runs")[0]
    assert row.status in ("completed", "failed")
    assert row.counts["run_id"] == 1
    left = pipeline.rows("SELECT status, attempts, suspect FROM nightreel.analyses WHERE status <> 'done'")
    assert {tuple(item) for item in left} <= {("pending", 0, False)}
    done = pipeline.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'done'")
    assert pipeline.value("SELECT count(*) FROM nightreel.answers") == done * PROMPT_COUNT


@pytest.mark.timeout(300)
def test_a_run_without_its_server_can_be_interrupted(pipeline_of, own_server):
    _, pid = own_server
    pipeline = pipeline_of(own_server, NIGHTREEL_PREFECT_PATIENCE_S="90")
    process = pipeline.start("analyze", pipeline.source)
    try:
        wait_until(DONE, pipeline, process)
        os.kill(pid, signal.SIGKILL)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=80)[0]
    finally:
        process.kill()
    assert process.returncode in (1, 130), output
    assert "Traceback" not in output
    assert pipeline.rows("SELECT status FROM nightreel.runs") == [("cancelled",)]
    assert pipeline.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'claimed' OR attempts > 1") == 0


@pytest.mark.timeout(300)
def test_a_run_that_waits_for_memory_ends_without_its_server(pipeline_of, own_server):
    """Nothing else ends it: the chunk waits for the model, and no server is there that grants the memory."""
    _, pid = own_server
    device = memory_devices()[0]
    most = device.leasable_mib(None)
    pipeline = pipeline_of(own_server, clips=1, NIGHTREEL_PREFECT_PATIENCE_S="3", NIGHTREEL_GPU_MEMORY_MIB=str(most))
    request = MemoryRequest(host=device.host, capacities={device.limit: most}, mib=1)
    with pipeline.database.begin() as connection:
        ticket = enqueue(connection, request, run_id=None, pid=os.getpid(), valid_s=600)
        record_grant(connection, ticket, (device.limit,), mib=1, valid_s=600)
    process = pipeline.start("analyze", pipeline.source)
    try:
        wait_until(WAITS, pipeline, process)
        os.kill(pid, signal.SIGKILL)
        output = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == 1, output
    (said,) = [line for line in output.splitlines() if line.startswith("error:")]
    assert "the Prefect server has not responded for NIGHTREEL_PREFECT_PATIENCE_S=3 s" in said
    assert "Traceback" not in output
    assert pipeline.rows("SELECT status FROM nightreel.runs") == [("failed",)]
    assert pipeline.rows("SELECT status, attempts FROM nightreel.analyses") == [("pending", 0)]
    assert pipeline.value("SELECT count(*) FROM nightreel.memory_leases") == 1, "that of this test"


def begun(client: SyncPrefectClient, flow: object = analyze_videos) -> UUID:
    """A flow run that is RUNNING, and whose process is no more."""
    run = client.create_flow_run(flow, state=Running())
    return run.id


def state_of(client: SyncPrefectClient, flow_run_id: UUID) -> str:
    return str(client.read_flow_run(flow_run_id).state_name)


@pytest.mark.parametrize(
    ("status", "ended", "becomes"),
    [
        ("crashed", 0, "Crashed"),
        ("failed", 3600, "Failed"),
        ("completed", 3600, "Completed"),
        ("cancelled", 3600, "Cancelled"),
        ("completed", 1, "Running"),
        ("running", None, "Running"),
    ],
)
def test_a_flow_run_ends_as_its_run_did(work, prefect_api_url, status, ended, becomes):
    with get_client(sync_client=True) as client:
        flow_run = begun(client)
        with work.database.begin() as connection:
            connection.execute(
                text(
                    "UPDATE nightreel.runs SET flow_run_id = :flow_run, status = :status, "
                    "finished_at = now() - make_interval(secs => CAST(:ended AS float8)) WHERE id = :id"
                ),
                {"flow_run": str(flow_run), "status": status, "ended": ended, "id": work.run.id},
            )
        end_dead_flow_runs(client, work.database)
        assert state_of(client, flow_run) == becomes
        client.delete_flow_run(flow_run)


def test_a_run_notes_its_process_before_it_registers(make_pipeline, prefect_api_url, tmp_path, monkeypatch):
    """A run that is killed before it has a row is ended by the next one, and not ten minutes later."""
    (tmp_path / "videos").mkdir()
    noted: list[int] = []

    def open_stages(*_, flow_run_id, **__):
        with get_client(sync_client=True) as client:
            noted.append(client.read_flow_run(UUID(flow_run_id)).labels["nightreel.pid"])
        raise SettingsError("it goes no further")

    monkeypatch.setattr(runs, "open_stages", open_stages)
    with pytest.raises(SettingsError, match="no further"):
        make_pipeline(tmp_path / "videos").analyze()
    assert noted == [os.getpid()]


def test_a_flow_run_that_died_before_it_registered_ends_after_a_while(work, prefect_api_url):
    with get_client(sync_client=True) as client:
        young, old = begun(client), begun(client)
        client.set_flow_run_state(old, Running(timestamp=datetime.now(UTC) - timedelta(hours=1)), force=True)
        end_dead_flow_runs(client, work.database)
        assert state_of(client, young) == "Running"
        for flow_run in (young, old):
            client.delete_flow_run(flow_run)


@pytest.mark.parametrize("flow", [analyze_videos, retry_failed], ids=["before it registered", "registers no run"])
@pytest.mark.parametrize(
    ("host", "pid", "becomes"), [(None, 0, "Crashed"), (None, None, "Running"), ("x", 0, "Running")]
)
def test_a_flow_without_a_run_is_found_by_its_process(work, prefect_api_url, flow, host, pid, becomes):
    me = psutil.Process()
    with get_client(sync_client=True) as client:
        flow_run = begun(client, flow)
        labels = {
            "nightreel.host": host or platform.node(),
            "nightreel.pid": me.pid if pid is None else 2**22 + 1,
            "nightreel.began": me.create_time(),
        }
        client.update_flow_run_labels(flow_run, labels)
        end_dead_flow_runs(client, work.database)
        assert state_of(client, flow_run) == becomes
        client.delete_flow_run(flow_run)
