"""Old runs of Nightreel go from a real Prefect server with all that belongs to them; everything else stays.

The API cannot make a run old, so these tests change the times in the server's database.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prefect import flow, get_run_logger, tags, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import FlowRunContext
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prefect.states import Running, Scheduled

from flows.tidy_prefect import tidy_prefect
from nightreel.errors import NightreelError
from nightreel.orchestration.tidying import Tidied, tidy

KEEP = timedelta(days=30)
OF_A_RUN = ("flow_run_state", "task_run", "log", "artifact")


@task
def work() -> None:
    get_run_logger().info("at work")
    create_markdown_artifact("of a task run", key="tidy-task")


@flow(name="analyze-videos")
def part() -> UUID:
    create_markdown_artifact("of a run within a run", key="tidy-part")
    context = FlowRunContext.get()
    assert context
    assert context.flow_run
    return context.flow_run.id


@flow(name="somebody-elses")
def run() -> UUID:
    work()
    create_markdown_artifact("of a flow run", key="tidy-run")
    context = FlowRunContext.get()
    assert context
    assert context.flow_run
    return context.flow_run.id


class Records:
    """The database of the server."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def age(self, *ids: UUID, days: int = 40) -> None:
        with sqlite3.connect(self._path, timeout=60) as connection:
            for column in ("start_time", "end_time", "expected_start_time"):
                change = f"UPDATE flow_run SET {column} = datetime({column}, ?) WHERE id = ?"
                connection.executemany(change, [(f"-{days} days", str(one)) for one in ids])

    def has(self, run_id: UUID) -> bool:
        return bool(self._count("flow_run", "id", run_id))

    def rest_of(self, run_id: UUID) -> dict[str, int]:
        """Rows that belong to a run, without tables that have none."""
        counts = {table: self._count(table, "flow_run_id", run_id) for table in OF_A_RUN}
        return {table: count for table, count in counts.items() if count}

    def _count(self, table: str, column: str, run_id: UUID) -> int:
        with sqlite3.connect(self._path, timeout=60) as connection:
            query = f"SELECT count(*) FROM {table} WHERE {column} = ?"
            return int(connection.execute(query, (str(run_id),)).fetchone()[0])


@pytest.fixture
def records(prefect_api_url, prefect_program) -> Records:
    return Records(prefect_program.directory / "home" / "prefect.db")


@pytest.fixture
def client(prefect_api_url) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def ours(records) -> Callable[[], UUID]:
    """Make a run tagged `nightreel`. Waits until the server has all its records."""

    def make() -> UUID:
        with tags("nightreel"), temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: True}):
            run_id = run()
            APILogHandler().flush()
        wait_for(lambda: set(records.rest_of(run_id)) == set(OF_A_RUN))
        return run_id

    return make


def wait_for(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def tidy_now(client: SyncPrefectClient) -> Tidied:
    return tidy(client, before=datetime.now(UTC) - KEEP)


def test_an_old_run_goes_with_its_task_runs_logs_and_artifacts(ours, records, client):
    old, young = ours(), ours()
    records.age(old, days=31)
    records.age(young, days=29)
    assert tidy_now(client) == Tidied(flow_runs=1, artifacts=2)
    assert not records.has(old)
    wait_for(lambda: not records.rest_of(old))
    assert records.has(young)
    assert set(records.rest_of(young)) == set(OF_A_RUN)
    assert tidy_now(client) == Tidied()


def test_a_run_within_a_run_goes_too_and_so_does_a_run_of_a_command(records, client):
    @flow(name="retry-failed")
    def retry() -> tuple[UUID, UUID]:
        inner = part()  # Prefect gives it no tags
        context = FlowRunContext.get()
        assert context
        assert context.flow_run
        return context.flow_run.id, inner

    retried, inner, command = *retry(), part()
    records.age(retried, inner, command)
    assert tidy_now(client).flow_runs == 3
    assert not any(map(records.has, (retried, inner, command)))


def test_runs_of_other_people_stay(records, client):
    mine = run()
    records.age(mine)
    deployment_id = client.create_deployment(client.create_flow_from_name("analyze-videos"), "of-somebody-else")
    deployed = client.create_flow_run_from_deployment(deployment_id, state=Running()).id
    client.set_flow_run_state(deployed, part(return_state=True), force=True)
    records.age(deployed)
    tidy_now(client)
    assert records.has(mine), "it has no tag of ours, and is of another flow"
    assert records.has(deployed), "it is of their deployment of our flow"
    client.delete_deployment(deployment_id)


def test_old_runs_that_have_not_ended_stay(records, client):
    states = Running(), Scheduled()
    running, waiting = (client.create_flow_run(part, state=state, tags=["nightreel"]) for state in states)
    records.age(running.id, waiting.id)
    tidy_now(client)
    assert records.has(running.id)
    assert records.has(waiting.id)


class Proxy:
    """The client, with other methods."""

    def __init__(self, client: SyncPrefectClient, **methods: Callable) -> None:
        self._client = client
        self.__dict__.update(methods)

    def __getattr__(self, name: str):
        return getattr(self._client, name)


def test_a_run_that_is_started_again_stays(ours, records, client):
    old = ours()
    records.age(old)

    def read(**arguments):
        listed = client.read_flow_runs(**arguments)
        if any(one.id == old for one in listed):
            client.set_flow_run_state(old, Scheduled(), force=True)
        return listed

    tidy_now(Proxy(client, read_flow_runs=read))
    assert records.has(old)
    assert set(records.rest_of(old)) == set(OF_A_RUN), "it keeps its artifacts"
    client.delete_flow_run(old)


def test_after_a_kill_at_any_request_the_next_call_deletes_the_rest(ours, records, client):
    old = [ours() for _ in range(3)]
    records.age(*old)
    for name in ("delete_artifact", "delete_flow_run"):

        def die(*_) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            tidy_now(Proxy(client, **{name: die}))
    tidy_now(client)
    assert not any(map(records.has, old))
    wait_for(lambda: not any(map(records.rest_of, old)))


def refusing(client: SyncPrefectClient, *ids: UUID) -> Proxy:
    def delete(run_id: UUID) -> None:
        if run_id in ids:
            request = httpx.Request("DELETE", "http://prefect/api/flow_runs")
            response = httpx.Response(500, text="too big", request=request)
            raise httpx.HTTPStatusError("", request=request, response=response)
        client.delete_flow_run(run_id)

    return Proxy(client, delete_flow_run=delete)


def test_a_run_that_the_server_does_not_delete_costs_one_sentence(ours, records, client, caplog):
    stubborn, other = ours(), ours()
    records.age(stubborn, days=41)
    records.age(other)
    with caplog.at_level(logging.WARNING, logger="nightreel"):
        done = tidy_now(refusing(client, stubborn))
    assert (done.flow_runs, done.failed) == (1, 1)
    assert str(done) == "1 flow run and 4 artifacts deleted, 1 flow run not: see the log"
    (said,) = (one.getMessage() for one in caplog.records if one.name.startswith("nightreel"))
    assert "stays in Prefect" in said
    assert "answered 500: too big" in said
    assert "\n" not in said
    assert not records.has(other)
    assert tidy_now(client).flow_runs == 1


def test_a_server_that_deletes_nothing_is_soon_left_alone(ours, records, client):
    old = [part() for _ in range(7)]
    records.age(*old)
    asked: list[UUID] = []
    proxy = refusing(client, *old)

    def delete(run_id: UUID) -> None:
        asked.append(run_id)
        proxy.delete_flow_run(run_id)

    with pytest.raises(NightreelError, match="too big"):
        tidy_now(Proxy(client, delete_flow_run=delete))
    assert len(asked) == 5
    assert tidy_now(client).flow_runs == 7


def test_the_flow_keeps_runs_as_long_as_the_setting_says(ours, records, monkeypatch):
    old = ours()
    records.age(old, days=50)
    for days, says in (("0", "NIGHTREEL_PREFECT_KEEP_DAYS is 0"), ("51", "0 flow runs"), ("49", "1 flow run and")):
        monkeypatch.setenv("NIGHTREEL_PREFECT_KEEP_DAYS", days)
        assert records.has(old)
        state = tidy_prefect(return_state=True)
        assert state.is_completed()
        assert says in str(state.message)
    assert not records.has(old)
