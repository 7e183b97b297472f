"""Runs share a device's memory: no lease overlaps another, every request is served, even if a process dies."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta

import pytest
from benchmarks.lease_log import judge, most_held, unserved
from benchmarks.lease_sides import (
    DEVICE_MIB,
    LEASE_S,
    UNEQUAL_DEVICES,
    Simulation,
    draw_requests,
    draw_unequal_requests,
    read_log,
)
from fixtures.pipeline import Pipeline
from prefect.client.orchestration import get_client
from sqlalchemy import text
from typer.testing import CliRunner

from nightreel.api.loaded_model import LoadedModel
from nightreel.api.problems import Problem
from nightreel.cli.app import app
from nightreel.database import memory_queue
from nightreel.domain import MemoryRequest
from nightreel.errors import PermanentError, SettingsError, TransientError
from nightreel.gpu import memory_devices, ram_device
from nightreel.orchestration.leases import lease_memory
from nightreel.orchestration.memory_limits import MemoryLimits
from nightreel.orchestration.service_lease import open_leases
from nightreel.reasons import Reason
from nightreel.services import PrefectApi
from nightreel.settings import Settings
from nightreel.stages import run as run_module

HOST, LIMIT = "a-test", "gpu-mem-a-test-GPU-0"
CAPACITY = 1000


@pytest.fixture
def books(prefect_api_url):
    with get_client(sync_client=True) as client:
        yield MemoryLimits(client, lease_s=LEASE_S)


def answered(call):
    """What a call to Prefect returns. Its server answers 503 while SQLite is locked: a run tries again, too."""
    for _ in range(20):
        with suppress(TransientError):
            return call()
        time.sleep(0.5)
    return call()


@pytest.fixture
def lease(books, database):
    """`lease(mib)`: a context that holds a lease of this size."""

    def make(mib: int, *, capacity: int = CAPACITY, **options):
        request = MemoryRequest(host=HOST, capacities={LIMIT: capacity}, mib=mib)
        return lease_memory(request, limits=books, database=database, run_id=None, **options)

    return make


def test_memory_is_held_in_the_context_and_free_afterwards(lease, books, database):
    with lease(600) as held:
        held.ensure_held()
        assert books.taken_mib(LIMIT) == (CAPACITY, 600)
        with database.begin() as connection:
            (place,) = memory_queue.read_queue(connection, HOST)
        assert (place.granted, place.mib) == ((LIMIT,), 600)
    assert books.taken_mib(LIMIT) == (CAPACITY, 0)
    with database.begin() as connection:
        assert memory_queue.read_queue(connection, HOST) == []


def test_a_limit_of_the_wrong_size_is_corrected(lease, books):
    with lease(10):
        pass
    with lease(10, capacity=CAPACITY - 100):
        assert books.taken_mib(LIMIT) == (CAPACITY - 100, 10)


def test_a_waiting_request_is_granted_as_soon_as_memory_is_given_back(lease):
    waited: list[float] = []

    def second() -> None:
        with lease(600):
            waited.append(time.monotonic())

    with lease(600):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(1)
        assert not waited
    freed = time.monotonic()
    thread.join(10)
    assert waited[0] - freed < 3, "no later than the waiting request's own next check"


def test_a_server_that_is_busy_for_a_moment_ends_no_run(lease, books, monkeypatch):
    ensure, busy = books.ensure, [True]

    def busy_at_first(capacities):
        if busy and busy.pop():
            raise TransientError(Reason.PREFECT_UNREACHABLE, "the Prefect server answered 503")
        ensure(capacities)

    monkeypatch.setattr(books, "ensure", busy_at_first)
    with lease(600) as held:
        held.ensure_held()
    assert not busy


def test_a_run_that_ends_stops_waiting(lease):
    ends_at = time.monotonic() + 0.5

    def why_stop():
        return "it is time" if time.monotonic() > ends_at else None

    with lease(600), pytest.raises(PermanentError, match=r"run_closed.*it is time"), lease(600, why_stop=why_stop):
        pass


def test_a_run_does_not_work_in_memory_that_it_lost(lease, books, monkeypatch):
    with lease(600) as held:
        monkeypatch.setattr(held, "_ends_at", time.monotonic() - 1)
        with pytest.raises(TransientError, match="memory_lease_lost"):
            held.ensure_held()


def test_a_deleted_limit_does_not_count_as_free_memory(lease, books, monkeypatch):
    monkeypatch.setattr(books, "ensure", lambda _: None)
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(LIMIT, CAPACITY)
        client.delete_global_concurrency_limit_by_name(LIMIT)
    with pytest.raises(PermanentError, match="memory_limit_gone"), lease(600):
        pass


def test_a_server_restart_loses_no_lease_and_every_request_is_served(
    tmp_path, database_url, prefect_program, prefect_api_url
):
    """A short form of `make bench-leases`, too short to judge idle memory and waits."""
    requests = draw_requests(12, hold_s=(0.3, 1.5), within_s=1.0, seed=3)
    with Simulation(tmp_path, database_url, program=prefect_program, processes=2) as simulation:
        simulation.start(requests)
        time.sleep(2)
        simulation.restart_server()
        simulation.wait(90)
        log = read_log(simulation.log_path)
    verdict = judge(log, device_mib=DEVICE_MIB, lease_s=LEASE_S)
    assert verdict.asked == verdict.served == 12
    assert verdict.most_mib <= DEVICE_MIB
    events = [event["event"] for event in log]
    assert "granted" in events[events.index("server is back") :], "no lease was granted after the restart"


def test_on_unequal_devices_no_limit_is_ever_passed_and_every_request_is_served(
    tmp_path, database_url, prefect_program, prefect_api_url
):
    """Three processes ask for any device that is large enough, for one device, and for all of them. All at random."""
    requests = draw_unequal_requests(36, hold_s=(0.2, 1.5), within_s=5.0, seed=1)
    with Simulation(tmp_path, database_url, prefect_program, processes=3, devices=UNEQUAL_DEVICES) as simulation:
        simulation.start(requests)
        simulation.wait(180)
        log = read_log(simulation.log_path)
    most = most_held(log)
    assert most.keys() == UNEQUAL_DEVICES.keys()
    assert {limit: mib for limit, mib in most.items() if mib > UNEQUAL_DEVICES[limit]} == {}
    assert unserved(log) == set()


def test_of_a_small_device_a_run_holds_all_when_the_large_one_is_taken(books, database):
    """Before, the second run waited for the large device, and the small one stood idle."""
    capacities = {"gpu-mem-a-test-GPU-large": 800, "gpu-mem-a-test-GPU-small": 240}
    request = MemoryRequest(host=HOST, capacities=capacities, mib=600)

    def hold():
        return lease_memory(request, limits=books, database=database, run_id=None)

    with hold() as first, hold() as second:
        assert (*first.limits, *second.limits) == tuple(capacities)
        assert [books.taken_mib(limit) for limit in capacities] == [(800, 600), (240, 240)]
        with database.begin() as connection:
            assert [place.mib for place in memory_queue.read_queue(connection, HOST)] == [600, 240]
    assert [books.taken_mib(limit) for limit in capacities] == [(800, 0), (240, 0)]


# -- whole runs --------------------------------------------------------------------------------------------------------


def limit_of(pipeline: Pipeline) -> str:
    return memory_devices()[0].limit


def test_a_run_leases_memory_before_it_loads_and_gives_it_back_at_its_end(pipeline, books):
    summary = pipeline.analyze()
    assert summary.videos == {"done": 3}
    assert "lease" in summary.timings
    size, taken = books.taken_mib(limit_of(pipeline))
    assert (size, taken) == (memory_devices()[0].leasable_mib(None), 0)
    assert pipeline.rows("SELECT * FROM nightreel.memory_leases") == []


def test_a_run_without_work_leases_no_memory(pipeline):
    pipeline.analyze()
    assert "lease" not in pipeline.analyze().timings


def test_a_lease_larger_than_the_capacity_fails_immediately(make_pipeline, clips):
    most = memory_devices()[0].leasable_mib(None)
    pipeline = make_pipeline(clips, NIGHTREEL_GPU_MEMORY_MIB=str(most + 1))
    with pytest.raises(SettingsError, match=rf"{most + 1} MiB.*{most} MiB"):
        pipeline.analyze()
    assert pipeline.statuses() == dict.fromkeys(("1.mp4", "2.mp4", "3.mp4"), ("pending", None)), "no video fails for it"


def test_a_run_waits_until_another_gives_back_enough_memory(make_pipeline, clips, books, database):
    device = memory_devices()[0]
    most = device.leasable_mib(None)
    pipeline = make_pipeline(clips, NIGHTREEL_GPU_MEMORY_MIB=str(most))
    request = MemoryRequest(host=device.host, capacities={device.limit: most}, mib=1)
    held = ExitStack()
    held.enter_context(lease_memory(request, limits=books, database=database, run_id=None))
    seen: list[int] = []

    def give_back_once_it_waits() -> None:
        with held:
            deadline = time.monotonic() + 60
            while len(seen) < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
                waits = "SELECT count(*) FROM nightreel.memory_leases WHERE granted = '{}' AND run_id IS NOT NULL"
                seen.extend([1] * pipeline.value(waits))

    thread = threading.Thread(target=give_back_once_it_waits)
    thread.start()
    summary = pipeline.analyze()
    thread.join()
    assert summary.videos == {"done": 3}
    assert len(seen) == 2, "the run did not wait: its request must be seen twice"


def test_a_run_that_waits_for_memory_can_be_interrupted(make_pipeline, clips, books, database):
    device = memory_devices()[0]
    most = device.leasable_mib(None)
    pipeline = make_pipeline(clips, NIGHTREEL_GPU_MEMORY_MIB=str(most))
    request = MemoryRequest(host=device.host, capacities={device.limit: most}, mib=1)
    with lease_memory(request, limits=books, database=database, run_id=None):
        process = pipeline.start("analyze", pipeline.source)
        wait_for(process, lambda: pipeline.value("SELECT count(*) FROM nightreel.memory_leases") == 2)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert "waits: " in output
    assert pipeline.value("SELECT count(*) FROM nightreel.memory_leases") == 0
    assert pipeline.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'claimed'") == 0


def test_a_run_that_waits_for_memory_ends_in_good_order_at_its_deadline(
    make_pipeline, clips, books, database, monkeypatch
):
    device = memory_devices()[0]
    most = device.leasable_mib(None)
    pipeline = make_pipeline(clips, NIGHTREEL_GPU_MEMORY_MIB=str(most))
    monkeypatch.setattr(run_module, "_ready_by", lambda *_, **__: datetime.now(UTC) + timedelta(seconds=20))
    request = MemoryRequest(host=device.host, capacities={device.limit: most}, mib=1)
    with lease_memory(request, limits=books, database=database, run_id=None):
        summary = pipeline.analyze(ready_by="06:00")
    assert summary.is_green
    assert "would not be done by" in summary.stopped
    assert summary.left == 3
    assert pipeline.statuses() == dict.fromkeys(("1.mp4", "2.mp4", "3.mp4"), ("pending", None))
    assert pipeline.rows("SELECT DISTINCT attempts FROM nightreel.analyses") == [(0,)]


def test_a_helper_that_waits_for_memory_has_claimed_nothing_and_ends_when_it_is_not_needed(
    make_pipeline, clips, books, database
):
    """The night may hold the memory that its helper waits for, and it waits for what the helper has claimed."""
    device = memory_devices()[0]
    most = device.leasable_mib(None)
    pipeline = make_pipeline(clips, NIGHTREEL_GPU_MEMORY_MIB=str(most))
    night = pipeline.analyze(limit=1).run_id
    request = MemoryRequest(host=device.host, capacities={device.limit: most}, mib=1)
    claimed: list[int] = []
    held, ended = ExitStack(), threading.Event()
    held.enter_context(lease_memory(request, limits=books, database=database, run_id=None))

    def end_the_work_once_the_helper_waits() -> None:
        deadline = time.monotonic() + 60
        waits = "SELECT count(*) FROM nightreel.memory_leases WHERE granted = '{}'"
        while not pipeline.value(waits) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(1)
        claimed.append(pipeline.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'claimed'"))
        with database.begin() as connection:
            connection.execute(text("UPDATE nightreel.analyses SET status = 'done' WHERE status = 'pending'"))
        ended_by_itself.append(ended.wait(20))
        held.close()

    ended_by_itself: list[bool] = []
    thread = threading.Thread(target=end_the_work_once_the_helper_waits)
    thread.start()
    helper = pipeline.analyze(night=night)
    ended.set()
    thread.join()
    assert claimed == [0]
    assert ended_by_itself == [True]
    assert helper.videos == {}
    assert f"run {night} needs no more help" in str(helper.stopped)
    assert pipeline.value("SELECT count(*) FROM nightreel.memory_leases") == 0


def test_the_command_shows_each_lease_and_its_holder(make_pipeline, clips, books, database):
    device = memory_devices()[0]
    most = device.leasable_mib(None)
    make_pipeline(clips)
    request = MemoryRequest(host=device.host, capacities={device.limit: most}, mib=100)
    with lease_memory(request, limits=books, database=database, run_id=None):
        killed = answered(lambda: books.take((device.limit,), 50))
        done = CliRunner().invoke(app, ["gpu", "--json"])
        assert done.exit_code == 0, done.output
        said = json.loads(done.stdout)
        (shown,) = said["devices"]
        assert (shown["limit_mib"], shown["leased_mib"], shown["lapsing_mib"]) == (most, 100, 50)
        assert shown["free_mib"] == most - 150
        assert [(lease["mib"], lease["granted"]) for lease in said["leases"]] == [(100, [device.limit])]
        assert said["problems"] == []
        table = CliRunner().invoke(app, ["gpu"]).stdout
        assert f"\tholds\t100 MiB\t{device.limit}" in table
        answered(lambda: books.give_back(killed))


def test_the_command_names_the_run_on_each_device_and_the_night_that_it_helps(pipeline, books, database):
    """The devices of a night are on several hosts: here this one, and one called elsewhere."""
    pipeline.analyze()
    (night,) = (row.id for row in pipeline.rows("SELECT id FROM nightreel.runs"))
    with database.begin() as connection:
        connection.execute(text("UPDATE nightreel.runs SET name = 'night 2026-11-26'"))
        copied = "flow_run_id, source, recipe_id, options, settings, environment"
        helper = connection.execute(
            text(
                f"INSERT INTO nightreel.runs ({copied}, name, night_id) SELECT {copied}, 'helper 1 of night', id "
                "FROM nightreel.runs RETURNING id"
            )
        ).scalar_one()
    device = memory_devices()[0]
    here = MemoryRequest(host=device.host, capacities={device.limit: device.leasable_mib(None)}, mib=100)
    elsewhere = MemoryRequest(host="elsewhere", capacities={"gpu-mem-elsewhere-GPU-1": 1000}, mib=200)
    with ExitStack() as stack:
        for request, run_id in ((here, night), (elsewhere, helper)):
            lease = lease_memory(request, limits=books, database=database, run_id=run_id)
            stack.enter_context(lease)
        said = json.loads(CliRunner().invoke(app, ["gpu", "--json"]).stdout)
        assert said["devices"][0]["runs"] == [night]
        assert [(lease["run_id"], lease["run_name"], lease["night_id"]) for lease in said["leases"]] == [
            (night, "night 2026-11-26", None),
            (helper, "helper 1 of night", night),
        ]
        table = CliRunner().invoke(app, ["gpu"]).stdout
        assert f"{night}\tnight 2026-11-26\t\tholds\t100 MiB\t{device.limit}" in table
        assert f"{helper}\thelper 1 of night\trun {night}\tholds\t200 MiB\tgpu-mem-elsewhere-GPU-1" in table


def wait_for(process: subprocess.Popen, condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


# -- the REST service ------------------------------------------------------------------------------------------------


@pytest.fixture
def service_model(prefect_api_url, database_url, tmp_path):
    """The model of a REST service that leases memory."""
    settings = Settings(
        _env_file=None, work_dir=tmp_path, database_url=database_url, device="cpu", api_model_idle_s=600
    )
    with open_leases(settings, PrefectApi(prefect_api_url)) as lease_memory:
        model = LoadedModel(settings, lease_memory=lease_memory)
        yield model
        model.close()


def granted(database) -> list[int]:
    """MiB that requests of this host hold."""
    with database.begin() as connection:
        return [one.mib for one in memory_queue.read_queue(connection, ram_device().host) if one.granted]


def test_the_model_of_the_rest_service_holds_a_lease_until_it_is_released(service_model, database):
    with service_model.taken():
        (mib,) = granted(database)
    assert mib > 0
    with service_model.taken():
        assert granted(database) == [mib], "one lease for all questions"
    service_model.close()
    assert granted(database) == []


def test_a_question_is_refused_while_runs_hold_the_memory(service_model, books, database):
    ram = ram_device()
    capacity = ram.leasable_mib(Settings(_env_file=None).gpu_reserve_mib)
    request = MemoryRequest(host=ram.host, capacities={ram.limit: capacity}, mib=capacity)
    with lease_memory(request, limits=books, database=database, run_id=None):
        with pytest.raises(Problem, match="runs hold the memory") as caught, service_model.taken():
            pass
        assert (caught.value.status, int(caught.value.headers["Retry-After"]) > 0) == (503, True)
        assert not service_model.is_loaded
    with service_model.taken():
        assert len(granted(database)) == 1


def test_a_model_whose_lease_was_lost_is_loaded_again_under_a_new_one(service_model, database):
    with service_model.taken() as first:
        pass
    service_model._device.lease._ends_at = 0.0
    with service_model.taken() as second:
        assert second is not first
        assert len(granted(database)) == 1
