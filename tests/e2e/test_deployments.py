"""What `nightreel deploy` registers and how workers run it, on a real Prefect server.

All tests here share one deploy. Its schedules are paused, as an operator can pause them, so nothing starts by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from fixtures.chat_server import ChatServer, as_json
from fixtures.hosts import Hosts, one_by_one, wait_for
from fixtures.pipeline import PROMPT_COUNT, Pipeline, make_clip
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.objects import FlowRun
from prefect.states import Failed, Pending, Running, Scheduled
from typer.testing import CliRunner

from flows.analyze_videos import analyze_videos
from nightreel.cli.app import app
from nightreel.errors import SettingsError
from nightreel.options import AnalyzeOptions, settings_for
from nightreel.orchestration.deployments.automations import DEAD, FAILED_NIGHT, dead_runs
from nightreel.orchestration.deployments.definitions import NIGHTLY, load_definitions, shipped
from nightreel.orchestration.deployments.pools import QUEUES
from nightreel.orchestration.dispatch import dispatch
from nightreel.orchestration.part_runs import FLOW, SHARDS, deployment_of
from nightreel.settings import load_settings
from nightreel.stages.backfill import list_backfill

NIGHT = f"{FLOW}/{NIGHTLY}"
CRON = "15 1 * * *"
CLIPS, CHUNK = 30, 2
CHANGES_BY_ITSELF = {"updated", "status", "last_polled"}
SILENT_FOR = timedelta(
    seconds=40
)  # runs send a heartbeat every 30 s: a shorter time would mark live runs as crashed, too

Registered = dict[str, Any]


@pytest.fixture(scope="module")
def client(prefect_api_url) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture(scope="module")
def pool(prefect_api_url, client, tmp_path_factory) -> Iterator[str]:
    """A pool with all that `nightreel deploy` registers; its schedules are paused."""
    name = f"deploy-{uuid4().hex[:8]}"
    environment = {"NIGHTREEL_WORK_POOL": name, "PREFECT_API_URL": prefect_api_url}
    with Hosts(tmp_path_factory.mktemp("deploy"), environment) as hosts:
        hosts.deploy()
    yield name
    client.delete_work_pool(name)


@pytest.fixture
def deploy(prefect_api_url, pool, tmp_path, monkeypatch) -> Callable[..., list[str]]:
    """`deploy("--cron", ...)`: returns the lines that the command prints; raises its error."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_api_url)
    monkeypatch.setenv("NIGHTREEL_SOURCE", "s3://videos")
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(tmp_path / "deploy"))

    def run(*options: str) -> list[str]:
        result = CliRunner().invoke(app, ["deploy", "--pool", pool, *options])
        if result.exception:
            raise result.exception
        return result.stdout.splitlines()

    return run


@pytest.fixture
def registered(client, pool) -> Callable[[], Registered]:
    """Our objects on the server, ids included, without the fields that the server changes by itself."""

    def read() -> Registered:
        found = {
            "pools": [client.read_work_pool(pool)],
            "queues": client.read_work_queues(work_pool_name=pool),
            "deployments": [one for one in client.read_deployments() if one.work_pool_name == pool],
            "automations": [one for name in (DEAD, FAILED_NIGHT) for one in client.read_automations_by_name(name)],
        }
        dumped = {kind: [one.model_dump(mode="json") for one in ones] for kind, ones in found.items()}
        return {kind: {one["name"]: steady(one) for one in ones} for kind, ones in dumped.items()}

    return read


def steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: steady(inner) for key, inner in value.items() if key not in CHANGES_BY_ITSELF}
    return [steady(inner) for inner in value] if isinstance(value, list) else value


@pytest.fixture
def slow(make_pipeline, pool, chat_server: ChatServer, tmp_path) -> Pipeline:
    """Nights of a minute and a half: long enough to stop or kill a host during one."""
    chat_server.delay_s = 3.0
    for seed in range(CLIPS):
        make_clip(tmp_path / "videos" / f"{seed:02}.mp4", seed + 1)
    return make_pipeline(
        tmp_path / "videos",
        NIGHTREEL_SOURCE=str(tmp_path / "videos"),
        NIGHTREEL_WORK_POOL=pool,
        PREFECT_WORKER_QUERY_SECONDS="2",
        **one_by_one(tmp_path, chat_server, chunk=CHUNK),
    )


def submit(client: SyncPrefectClient, deployment: str, **options: str) -> FlowRun:
    """A run that is due now."""
    found = client.read_deployment_by_name(deployment)
    parameters = {"options": options} if options else None
    return client.create_flow_run_from_deployment(found.id, state=Scheduled(), parameters=parameters)


def state_of(client: SyncPrefectClient, flow_run: FlowRun) -> str:
    state = client.read_flow_run(flow_run.id).state
    assert state
    return state.name


# -- registration -----------------------------------------------------------------------------------------------------


def test_a_second_deploy_changes_nothing(deploy, registered, pool):
    before = registered()
    assert {name: queue["priority"] for name, queue in before["queues"].items() if name in QUEUES} == QUEUES
    assert len(before["deployments"]) == len(load_definitions(shipped("prefect.yaml")))
    assert list(before["automations"]) == [DEAD]
    assert deploy() == ["nothing to change"]
    assert registered() == before


def test_runs_of_a_pool_of_an_earlier_version_get_a_command_and_a_command_of_ones_own_stays(deploy, client, pool):
    made = client.read_work_pool(pool).base_job_template
    for command, expected in ((None, "python3 -m nightreel.orchestration.flow_run_program"), ("nice run", "nice run")):
        template = deepcopy(made)
        template["variables"]["properties"]["command"]["default"] = command
        client.update_work_pool(pool, WorkPoolUpdate(base_job_template=template))
        changes = deploy()
        found = client.read_work_pool(pool).base_job_template
        assert found["variables"]["properties"]["command"]["default"] == expected, changes
    client.update_work_pool(pool, WorkPoolUpdate(base_job_template=made))
    assert deploy() == ["nothing to change"]


def test_another_cron_changes_only_the_night_and_a_paused_schedule_stays_paused(deploy, registered):
    before = registered()
    assert deploy("--cron", CRON) == [f"changed deployment {NIGHT}: schedule.nightly.cron 30 0 * * * → {CRON}"]
    after = registered()
    night, was = after["deployments"].pop(NIGHTLY), before["deployments"].pop(NIGHTLY)
    assert after == before, "nothing else"
    (schedule,), (old,) = night.pop("schedules"), was.pop("schedules")
    assert (schedule["schedule"]["cron"], schedule["active"]) == (CRON, False)
    assert schedule["id"] == old["id"]
    assert {key for key in night if night[key] != was[key]} <= {"version", "version_id", "version_info"}
    again = registered()
    assert deploy("--cron", CRON) == ["nothing to change"]
    assert registered() == again
    back = f"changed deployment {NIGHT}: schedule.nightly.cron {CRON} → 30 0 * * *"
    assert deploy() == [back], "without the option, the schedule is that of the file"


def test_a_deleted_queue_is_made_again_and_its_deployment_returns_to_it(deploy, registered, client, pool):
    before = registered()
    client.delete_work_queue_by_id(client.read_work_queue_by_name("backfill", work_pool_name=pool).id)
    assert deploy() == [
        f"made queue backfill of {pool}, priority {QUEUES['backfill']}",
        f"changed deployment {deployment_of(pool)}: pool nothing → {pool}",
    ]
    shards = registered()["deployments"][SHARDS + pool]
    assert (shards["work_pool_name"], shards["work_queue_name"]) == (pool, "backfill")
    assert shards["id"] == before["deployments"][SHARDS + pool]["id"]
    assert deploy() == ["nothing to change"]


def test_a_wrong_notification_block_is_refused_and_the_error_lists_existing_blocks(deploy, registered, webhook):
    before = registered()
    for name, problem in (("custom-webhook/nobody", "is not a block"), ("slack", "should be TYPE-SLUG/BLOCK-NAME")):
        with pytest.raises(SettingsError, match=f"{problem}: expected one of .*custom-webhook/{webhook}"):
            deploy("--notify", name, "--cron", CRON)
    assert registered() == before, "nothing was changed"


@pytest.fixture
def webhook(client, chat_server) -> str:
    """A notification block that notifies only the chat server."""
    name = f"ops-{uuid4().hex[:8]}"
    told = {"subject": "{{subject}}", "body": "{{body}}"}
    CustomWebhookNotificationBlock(name=name, url=chat_server.url, json_data=told).save(name)
    return name


def test_a_failed_night_sends_one_notification(deploy, registered, client, webhook, chat_server):
    made = deploy("--notify", f"custom-webhook/{webhook}")
    before = registered()
    assert deploy("--notify", f"custom-webhook/{webhook}") == ["nothing to change"]
    assert registered() == before
    notifications = []

    def take(_path, body):
        notifications.append(body)
        return as_json({})

    chat_server.answer_other = take
    try:
        assert made == [f"made automation {FAILED_NIGHT!r}"]
        night = submit(client, NIGHT)
        client.set_flow_run_state(night.id, Failed(message="the bucket is gone"), force=True)
        wait_for(lambda: notifications, lambda: state_of(client, night))
        (notification,) = notifications
        assert night.name in notification["subject"]
        assert "the bucket is gone" in notification["body"]
    finally:
        client.delete_automation(client.read_automations_by_name(FAILED_NIGHT)[0].id)


# -- workers -----------------------------------------------------------------------------------------------------------


def test_a_night_starts_before_a_shard_that_was_due_earlier(make_pipeline, clips, pool, client):
    pipeline = make_pipeline(clips, NIGHTREEL_SOURCE=str(clips), NIGHTREEL_WORK_POOL=pool)
    with list_backfill(
        AnalyzeOptions(source=str(clips)),
        settings_for(AnalyzeOptions(source=str(clips))),
        database=pipeline.database,
        shard_videos=9,
    ) as listed:
        listed.accept(pool=pool)
    assert dispatch(pipeline.database, client, load_settings(), linked=False).submitted == 1
    shard = client.read_flow_run(pipeline.value("SELECT flow_run_id FROM nightreel.backfill_shards"))
    night = submit(client, NIGHT)
    assert shard.next_scheduled_start_time < night.next_scheduled_start_time

    queues = ("--queue", "backfill", "--queue", "nightly")
    worker = pipeline.start("worker", "--once", "--limit", "1", "--name", "once", *queues)
    output = worker.communicate(timeout=200)[0]
    assert worker.returncode == 0, output
    assert "nothing more is due" in output
    assert state_of(client, night) == state_of(client, shard) == "Completed", "everything that was due ran"
    ended, began = client.read_flow_run(night.id).end_time, client.read_flow_run(shard.id).start_time
    assert ended < began, "the worker runs one at a time, the night first"
    assert set(pipeline.statuses().values()) == {("done", None)}
    assert pipeline.value("SELECT count(*) FROM reporting.answers") == 3 * PROMPT_COUNT
    again = pipeline.start("worker", "--once", *queues)
    assert "nothing is due" in again.communicate(timeout=60)[0]


def test_deploy_and_worker_refuse_nights_without_a_source(make_pipeline, clips, pool, registered):
    pipeline = make_pipeline(clips, NIGHTREEL_WORK_POOL=pool)
    before = registered()
    for command in (("deploy",), ("worker", "--once"), ("worker", "--once", "--queue", "nightly")):
        process = pipeline.start(*command)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == 2, output
        assert "NIGHTREEL_SOURCE" in output
        assert "nightly" in output
    assert registered() == before
    process = pipeline.start("worker", "--once", "--queue", "backfill")
    assert "nothing is due" in process.communicate(timeout=60)[0]
    for arguments, said in ((("--queue", "nigthly"), "'nightly'"), (("--pool", pool[:-1]), f"'{pool}'")):
        process = pipeline.start("worker", "--once", *arguments)
        assert f"did you mean {said}?" in process.communicate(timeout=60)[0]
        assert process.returncode == 2


def test_a_worker_ends_the_flow_runs_that_died_with_the_one_before(make_pipeline, clips, pool, client):
    pipeline = make_pipeline(clips, NIGHTREEL_WORK_POOL=pool)
    pipeline.analyze()
    dead, alive = (client.create_flow_run(analyze_videos, state=Running()) for _ in range(2))
    pipeline.rows(
        "INSERT INTO nightreel.runs (flow_run_id, alive_until, source, recipe_id, options, settings, environment) "
        "SELECT flow_run.id, now() + flow_run.lives, source, recipe_id, options, settings, environment "
        f"FROM nightreel.runs, (VALUES ('{dead.id}', interval '-1 s'), ('{alive.id}', interval '1 h')) "
        "AS flow_run (id, lives) RETURNING id"
    )
    worker = pipeline.start("worker", "--once", "--queue", "backfill")
    output = worker.communicate(timeout=60)[0]
    assert worker.returncode == 0, output
    assert [state_of(client, flow_run) for flow_run in (dead, alive)] == ["Crashed", "Running"]
    assert pipeline.rows("SELECT status FROM nightreel.runs ORDER BY id") == [
        ("completed",), ("crashed",), ("running",)
    ]  # fmt: skip
    for flow_run in (dead, alive):
        client.delete_flow_run(flow_run.id)


def test_a_second_night_is_cancelled_and_a_stopped_worker_releases_its_claims(slow, client, tmp_path):
    with Hosts(tmp_path, slow.environment) as hosts:
        hosts.start("a", "--limit", "2")
        night = submit(client, NIGHT)
        done = "SELECT count(*) FROM nightreel.analyses WHERE status = 'done'"
        wait_for(lambda: slow.value(done), lambda: hosts.log("a"))
        second = submit(client, NIGHT)
        wait_for(lambda: state_of(client, second) == "Cancelled", lambda: hosts.log("a"))
        assert state_of(client, night) == "Running"
        assert slow.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'claimed'") > 0
        status = hosts.end("a")
        assert status == 0, hosts.log("a")
    assert slow.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'claimed'") == 0
    assert slow.value("SELECT max(attempts) FROM nightreel.analyses WHERE status = 'pending'") == 0
    assert slow.rows("SELECT status FROM nightreel.runs") == [("cancelled",)]
    assert state_of(client, night) == "Crashed", "Prefect's state for a run whose process got a signal to stop"


@contextmanager
def burying(client: SyncPrefectClient, silent_for: timedelta) -> Iterator[None]:
    """A second automation for dead runs, with a shorter timeout than the registered one."""
    automation = client.create_automation(dead_runs(silent_for).model_copy(update={"name": uuid4().hex}))
    try:
        yield
    finally:
        client.delete_automation(automation)


def test_a_run_killed_with_its_worker_is_marked_crashed_and_a_live_run_is_not(slow, client, pool, tmp_path):
    with burying(client, SILENT_FOR):
        with Hosts(tmp_path, slow.environment) as hosts:
            hosts.start("a", "--queue", "nightly")
            hosts.start("b", "--queue", "backfill")
            night, other = submit(client, NIGHT), submit(client, deployment_of(pool), plan="uniform:2")
            running = "SELECT count(*) FROM nightreel.runs WHERE status = 'running'"
            wait_for(lambda: slow.value(running) == 2, lambda: [hosts.log("a"), hosts.log("b")])
            hosts.kill("a")
            assert state_of(client, night) == "Running", "no live process corrects the state"
            wait_for(lambda: state_of(client, night) == "Crashed", lambda: state_of(client, night))
            assert "no heartbeat for 40 s" in client.read_flow_run(night.id).state.message
            assert state_of(client, other) == "Running"


def test_a_run_killed_before_its_first_heartbeat_is_marked_crashed(client, pool):
    with burying(client, timedelta(seconds=10)):
        shard = submit(client, deployment_of(pool))
        client.set_flow_run_state(shard.id, Pending())
        client.set_flow_run_state(shard.id, Running())
        wait_for(lambda: state_of(client, shard) == "Crashed", lambda: state_of(client, shard))
    assert "no heartbeat for 10 s" in client.read_flow_run(shard.id).state.message
