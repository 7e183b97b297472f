"""A backfill from its plan to its end on a real Prefect server, with kills, pauses and cancellations on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from fixtures.pipeline import PROMPT_COUNT, Pipeline, make_clip
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.states import Crashed, Failed, Running, Scheduled
from typer.testing import CliRunner

from flows.analyze_videos import analyze_videos
from nightreel.cli.app import app
from nightreel.database import backfills
from nightreel.errors import NightreelError, PermanentError, SettingsError
from nightreel.options import AnalyzeOptions, settings_for
from nightreel.orchestration import dispatch as module
from nightreel.orchestration.dispatch import dispatch
from nightreel.orchestration.nights import NightWatch
from nightreel.orchestration.part_runs import cancel_waiting, deployment_of
from nightreel.orchestration.runs import Caller, caller
from nightreel.settings import load_settings
from nightreel.stages.backfill import list_backfill
from nightreel.stages.summary import RunSummary

CLIPS, A_SHARD = 7, 2


@pytest.fixture
def client(prefect_api_url) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def pool(client) -> Iterator[str]:
    """A pool with queues and the deployment of its shards, without a worker."""
    pool = f"test-{uuid4().hex[:8]}"
    client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    for queue in ("nightly", "backfill"):
        client.create_work_queue(queue, work_pool_name=pool)
    flow_id = client.create_flow(analyze_videos)
    for queue, name in (("backfill", deployment_of(pool).split("/")[1]), ("nightly", "test-night")):
        client.create_deployment(
            flow_id=flow_id,
            name=name,
            entrypoint="flows.analyze_videos.analyze_videos",
            work_pool_name=pool,
            work_queue_name=queue,
        )
    yield pool
    client.delete_work_pool(pool)


@pytest.fixture
def many(make_pipeline, tmp_path, pool) -> Pipeline:
    for seed in range(CLIPS):
        make_clip(tmp_path / "videos" / f"{seed}.mp4", seed + 1)
    return make_pipeline(tmp_path / "videos", NIGHTREEL_CHUNK_SEGMENTS="1", NIGHTREEL_WORK_POOL=pool)


def begin(pipeline: Pipeline) -> int:
    wanted = AnalyzeOptions(source=pipeline.source)
    with list_backfill(wanted, settings_for(wanted), database=pipeline.database, shard_videos=A_SHARD) as listed:
        return listed.accept(pool=pipeline.environment["NIGHTREEL_WORK_POOL"])


@pytest.fixture
def submit(many, client) -> Callable[[], module.Dispatched]:
    return lambda: dispatch(many.database, client, load_settings(), linked=False)


def shards(pipeline: Pipeline) -> list[tuple[int, str]]:
    return [tuple(row) for row in pipeline.rows("SELECT number, status FROM nightreel.backfill_shards ORDER BY number")]


def flow_runs(client: SyncPrefectClient, pool: str) -> list:
    named = DeploymentFilter(name=DeploymentFilterName(any_=[deployment_of(pool).split("/")[1]]))
    return client.read_flow_runs(deployment_filter=named)


def run_shard(pipeline: Pipeline, shard_id: int, listen: Callable[[RunSummary], None] = lambda _: None) -> RunSummary:
    """Run a shard in this process, as a worker does."""
    told: list[RunSummary] = []

    def both(summary: RunSummary) -> None:
        told.append(summary)
        listen(summary)

    token = caller.set(Caller(settings=load_settings(), on_progress=both))
    try:
        state = analyze_videos(AnalyzeOptions(shard=shard_id), return_state=True)
    finally:
        caller.reset(token)
    error = state.result(raise_on_failure=False)
    if isinstance(error, NightreelError):
        raise error
    assert state.is_completed(), state
    return told[-1]


def test_shards_do_exactly_the_planned_work(many, pool, submit):
    known = many.analyze(limit=2)
    assert known.succeeded == 2
    with list_backfill(
        AnalyzeOptions(source=many.source),
        settings_for(AnalyzeOptions(source=many.source)),
        database=many.database,
        shard_videos=A_SHARD,
    ) as listed:
        plan = listed.estimate()
        listed.accept(pool=pool)
    assert (plan.totals.done, plan.totals.videos, plan.totals.to_ask) == (2, 5, 5 * PROMPT_COUNT)
    before = many.value("SELECT count(*) FROM nightreel.answers")
    summaries = [run_shard(many, shard_id) for (shard_id,) in many.rows("SELECT id FROM nightreel.backfill_shards")]
    assert [summary.succeeded for summary in summaries] == [2, 3]
    assert many.value("SELECT count(*) FROM nightreel.answers") - before == plan.totals.to_ask
    assert many.rows("SELECT status, done, failed FROM nightreel.backfill_shards ORDER BY number") == [
        ("done", 2, 0),
        ("done", 3, 0),
    ]
    assert submit() == module.Dispatched(), "the run of the last shard has closed the backfill"
    (shown,) = many.rows("SELECT status, videos, done, failed, shards_done FROM reporting.backfills")
    assert shown == ("done", 5, 5, 0, 2)


def test_a_shard_is_submitted_once_even_if_its_dispatch_is_killed(many, pool, client, submit, monkeypatch):
    begin(many)
    record = backfills.record_submission
    with monkeypatch.context() as killed:

        def die(connection, shard, flow_run_id):
            if shard.number == 2:
                raise KeyboardInterrupt
            record(connection, shard, flow_run_id)

        killed.setattr(module.backfills, "record_submission", die)
        with pytest.raises(KeyboardInterrupt):
            submit()
    assert {status for _, status in shards(many)} == {"waiting"}, "a dispatch that died leaves nothing behind"
    assert submit().submitted == 3
    assert submit() == module.Dispatched()
    runs = flow_runs(client, pool)
    assert len(runs) == 3
    ids = {row.id for row in many.rows("SELECT id FROM nightreel.backfill_shards")}
    assert {run.parameters["options"]["shard"] for run in runs} == ids
    assert {run.work_queue_name for run in runs} == {"backfill"}


def test_a_broken_run_is_tried_again_a_limited_number_of_times(many, pool, client, submit):
    begin(many)
    submit()
    for attempt, end in enumerate((Failed, Crashed, Failed), 1):
        (row,) = many.rows("SELECT flow_run_id FROM nightreel.backfill_shards WHERE number = 1")
        client.set_flow_run_state(row.flow_run_id, end(message="the model is not there"), force=True)
        done = submit()
        assert (done.requeued, done.submitted) == (1, int(end is Crashed)), "a failed run waits before its retry"
        status, attempts, detail = many.rows(
            "SELECT status, attempts, detail FROM nightreel.backfill_shards WHERE number = 1"
        )[0]
        assert attempts == attempt
        assert "the model is not there" in detail
        if end is Failed and attempt == 1:
            assert status == "waiting"
            with many.database.begin() as connection:
                connection.exec_driver_sql("UPDATE nightreel.backfill_shards SET not_before = now()")
            assert submit().submitted == 1
    assert status == "failed"
    run_others = [row.id for row in many.rows("SELECT id FROM nightreel.backfill_shards WHERE number > 1")]
    for shard_id in run_others:
        run_shard(many, shard_id)
    assert many.value("SELECT status FROM nightreel.backfills") == "failed"
    with many.database.begin() as connection:
        backfills.change_backfill(connection, 1, "resume")
    assert submit().submitted == 1


def test_cancelling_withdraws_runs_that_have_not_started(many, pool, client, submit):
    backfill = begin(many)
    submit()
    with many.database.begin() as connection:
        backfills.change_backfill(connection, backfill, "cancel")
        waiting = backfills.flow_runs_of(connection, backfill)
    assert cancel_waiting(client, waiting, why="a test") == 3
    assert submit() == module.Dispatched(requeued=3)
    assert {run.state.name for run in flow_runs(client, pool)} == {"Cancelled"}
    with many.database.begin() as connection, pytest.raises(PermanentError, match="is cancelled"):
        backfills.change_backfill(connection, backfill, "resume")


def test_a_paused_backfill_ends_its_runs_after_their_chunk_and_continues_where_it_stopped(many, pool):
    backfill = begin(many)
    first = many.value("SELECT id FROM nightreel.backfill_shards WHERE number = 3")

    def pause(summary: RunSummary) -> None:
        if summary.succeeded == 1:
            with many.database.begin() as connection:
                connection.exec_driver_sql("UPDATE nightreel.backfills SET status = 'paused'")

    stopped = run_shard(many, first, pause)
    assert f"backfill {backfill} is paused" in stopped.headline
    assert 1 <= stopped.succeeded < 3
    assert many.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'claimed'") == 0
    assert many.value("SELECT max(attempts) FROM nightreel.analyses WHERE status = 'pending'") == 0
    assert many.rows("SELECT status, attempts FROM nightreel.backfill_shards WHERE number = 3") == [("waiting", 0)]
    before = many.rows("SELECT id, answered_at FROM nightreel.answers ORDER BY id")
    with many.database.begin() as connection:
        backfills.change_backfill(connection, backfill, "resume")
    rest = run_shard(many, first)
    assert stopped.succeeded + rest.succeeded == 3
    assert many.rows("SELECT id, answered_at FROM nightreel.answers ORDER BY id")[: len(before)] == before
    assert many.value("SELECT status FROM nightreel.backfill_shards WHERE number = 3") == "done"


def test_a_shard_makes_room_for_a_night_that_is_due(many, pool, client, monkeypatch):
    begin(many)
    night = client.read_deployment_by_name("analyze-videos/test-night")
    watch = NightWatch(client)
    assert not watch(pool)
    late = client.create_flow_run_from_deployment(
        night.id, state=Scheduled(scheduled_time=datetime.now(UTC) - timedelta(minutes=2))
    )
    assert NightWatch(client)(pool)
    assert not NightWatch(client)("another-pool")
    assert not watch(pool), "the result is cached: the server is not queried each time"
    first = many.value("SELECT id FROM nightreel.backfill_shards WHERE number = 1")
    assert "made room for a night" in run_shard(many, first).headline
    assert many.value("SELECT count(*) FROM nightreel.answers") == 0
    client.set_flow_run_state(late.id, Running(), force=True)
    assert not NightWatch(client)(pool)
    assert run_shard(many, first).succeeded == 2


def test_a_shard_makes_room_for_a_run_that_waits_for_its_memory(many, pool):
    begin(many)
    first = many.value("SELECT id FROM nightreel.backfill_shards WHERE number = 3")
    many.analyze(limit=1)

    def wait_for_memory(summary: RunSummary) -> None:
        if summary.succeeded == 1:
            with many.database.begin() as connection:
                connection.exec_driver_sql(
                    "INSERT INTO nightreel.memory_leases (host, limits, spread, mib, run_id, pid, expires_at)"
                    " SELECT host, limits, false, 1000000, 1, 1, now() + interval '1 hour'"
                    " FROM nightreel.memory_leases WHERE granted <> '{}' LIMIT 1"
                )

    assert "waits for the device's memory" in run_shard(many, first, wait_for_memory).headline


def test_a_worker_with_another_model_refuses_the_shard(many, pool, monkeypatch):
    begin(many)
    first = many.value("SELECT id FROM nightreel.backfill_shards WHERE number = 1")
    monkeypatch.setenv("NIGHTREEL_DTYPE", "bfloat16")
    with pytest.raises(SettingsError, match="set NIGHTREEL_MODEL and its options to"):
        run_shard(many, first)
    monkeypatch.delenv("NIGHTREEL_DTYPE")
    monkeypatch.setenv("NIGHTREEL_MODEL", "demo")  # the backfill names its model
    monkeypatch.setenv("NIGHTREEL_PROMPTS", "no-such-file.yaml")  # its prompts are in the database
    assert run_shard(many, first).succeeded == 2


def invoke(*arguments: str):
    return CliRunner().invoke(app, ["backfill", *arguments])


def test_the_command_plans_starts_and_reports_a_backfill(many, pool, client, tmp_path):
    assert "no backfills yet" in invoke("status").stdout
    planned = invoke("--prefix", many.source, "--dry-run", "--json")
    assert planned.exit_code == 0, planned.output
    said = json.loads(planned.stdout)
    assert (said["totals"]["videos"], said["shards"], said["backfill"]) == (CLIPS, 1, None)
    assert many.value("SELECT count(*) FROM nightreel.recipes") == 0, "a dry run leaves nothing behind"
    assert invoke("--prefix", many.source).exception.detail.startswith("not a terminal, or --json: pass --dry-run")
    (tmp_path / "empty").mkdir()
    assert "lists no objects" in str(invoke("--prefix", str(tmp_path / "empty"), "--dry-run").exception)
    assert "--prefix: " in str(invoke("--prefix", f"{many.source}-misspelt", "--dry-run").exception)
    assert "no_deployment" in str(invoke("--prefix", many.source, "--yes", "--pool", "elsewhere").exception)
    assert many.value("SELECT count(*) FROM nightreel.backfills") == 0

    begun = invoke("--prefix", many.source, "--yes")
    assert begun.exit_code == 0, begun.output
    assert "backfill 1: accepted" in begun.stdout
    assert "1 shard submitted" in begun.stdout
    assert f"no worker serves pool {pool}: nothing starts until `nightreel worker" in begun.stderr
    for action, state in (("pause", "paused"), ("resume", "running")):
        changed = invoke(action, "1")
        assert f"backfill 1: {state}" in changed.stdout
        assert ("no worker serves" in changed.stderr) == (action == "resume")
        assert json.loads(invoke("status", "1", "--json").stdout)[0]["status"] == state
    run_shard(many, 1)
    (told,) = json.loads(invoke("status", "--json").stdout)
    assert (told["done"], told["failed"], told["left_s"], told["status"]) == (CLIPS, 0, 0, "done")
    assert "backfill\tstatus" in invoke("status").stdout
    assert "is done" in str(invoke("cancel", "1").exception)
    assert "there is no backfill 9" in str(invoke("status", "9").exception)
    again = invoke("--prefix", many.source, "--yes")
    assert again.exit_code == 0
    assert "nothing to do" in again.stdout


def test_a_pool_without_a_deployment_does_not_delay_other_pools(many, pool, client, submit):
    wanted = AnalyzeOptions(source=many.source)
    with list_backfill(wanted, settings_for(wanted), database=many.database, shard_videos=A_SHARD) as listed:
        listed.accept(pool="nowhere")
    begin(many)
    done = submit()
    assert done.submitted == 3
    assert "nightreel deploy --pool nowhere" in str(done)
    assert [status for _, status in shards(many)].count("submitted") == 3
