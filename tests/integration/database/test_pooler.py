"""Behind pgbouncer in transaction mode, everything works as it does with Postgres alone."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from fixtures.work import Work, register, stored
from sqlalchemy import text

from nightreel.database.backfill_work import listing_table, wanted_work
from nightreel.database.connection import Database, is_pooled
from nightreel.database.eviction import sole_evictor
from nightreel.database.memory_queue import watch_queue
from nightreel.database.migrations import require_current, upgrade
from nightreel.database.runs import RunRegistration, recover_dead_runs


@pytest.fixture
def database(pooled_url):
    """The database of `work`, too."""
    database = Database(pooled_url)
    yield database
    database.close()


def in_threads(*calls) -> None:
    errors: list[BaseException] = []

    def run(call) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_a_pooler_is_recognised(database, database_url):
    direct = Database(database_url)
    for connected, pooled in ((database, True), (direct, False)):
        with connected.begin() as connection:
            assert is_pooled(connection) is pooled
    direct.close()


def test_a_living_run_keeps_its_claims_and_a_dead_one_loses_them(work, open_work):
    alive, dead = open_work(lease_s=1), open_work(lease_s=1)
    work.discover(*(stored(f"{number:03}.mp4") for number in range(20)))
    claims = {run.run.id: run.claim(segments=5, lease_s=1) for run in (alive, dead)}
    dead.run._stop.set()
    found = []
    for _ in range(20):  # each time on any of the pooler's sessions
        found += recover_dead_runs(work.database, max_crashes=3)
        time.sleep(0.1)
    assert found == [dead.run.id]
    with work.database.begin() as connection:
        held = connection.execute(text("SELECT run_id, count(*) FROM nightreel.analyses GROUP BY run_id"))
        assert {row.run_id: row.count for row in held} == {alive.run.id: len(claims[alive.run.id]), None: 15}


def test_more_runs_than_sessions_share_the_work_without_overlap(work, open_work):
    """Each holds its run for as long as it works; none holds a session."""
    runs = [work, *(open_work(lease_s=1) for _ in range(7))]
    work.discover(*(stored(f"{number:03}.mp4") for number in range(200)))
    taken: list[str] = []

    def take(run: Work) -> None:
        while claims := run.claim(segments=3):
            taken.extend(claim.video.uri for claim in claims)

    in_threads(*(lambda run=run: take(run) for run in runs))
    assert len(taken) == len(set(taken)) == 200


def test_only_one_eviction_runs_at_a_time(database):
    for _ in range(10):
        with sole_evictor(database) as won:
            assert won
            with sole_evictor(database) as other:
                assert not other


def test_a_listing_is_planned_in_several_transactions(work, tmp_path, pooled_url):
    other = Database(pooled_url)
    with listing_table(work.database, tmp_path) as listing:
        for number in range(30):
            listing.add([stored(f"{number}.mp4")])
            with other.begin() as connection:  # takes the session that the listing had
                connection.execute(text("SELECT 1"))
        for keep in (False, True):
            with listing.transaction(keep=keep) as connection:
                totals, _ = wanted_work(connection, work.recipe, bytes_per_s=100.0, shard_videos=10)
                assert totals.videos == 30
    other.close()


def test_a_waiting_request_checks_by_itself(database):
    with watch_queue(database) as changed:
        started = time.monotonic()
        assert not changed(0.3)
        assert time.monotonic() - started >= 0.3
    with database.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM pg_listening_channels()")).scalar_one() == 0


def test_an_empty_database_is_upgraded(empty_database_url, pgbouncer):
    database = Database(pgbouncer(empty_database_url, "transaction"))
    in_threads(*[lambda: upgrade(database.engine)] * 3)
    require_current(database.engine)
    with RunRegistration(
        database,
        lease_s=60,
        source="s3://bucket",
        recipe_id=register(database).id,
        options={},
        settings={},
        environment={},
    ) as run:
        assert recover_dead_runs(database, max_crashes=3) == []
        assert run.id
    database.close()


def test_the_file_of_a_listing_is_gone_after_the_block(database, tmp_path: Path):
    with listing_table(database, tmp_path / "work") as listing:
        listing.add([stored("a.mp4")])
    assert list((tmp_path / "work").iterdir()) == []
