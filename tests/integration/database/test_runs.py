"""A run is alive as long as its heartbeats arrive, whatever happens to its connections."""

from __future__ import annotations

import threading
import time

import pytest
from fixtures.work import Work, stored
from sqlalchemy import make_url, text

from nightreel.database.connection import Database
from nightreel.database.runs import LifeSigns, any_died_during, recover_dead_runs


def status(work: Work) -> str:
    with work.database.begin() as connection:
        query = text("SELECT status FROM nightreel.runs WHERE id = :id")
        return connection.execute(query, {"id": work.run.id}).scalar_one()


def claimed(work: Work) -> list[int | None]:
    with work.database.begin() as connection:
        query = text("SELECT run_id FROM nightreel.analyses WHERE status = 'claimed' ORDER BY uri")
        return list(connection.execute(query).scalars())


def kill(work: Work) -> None:
    """Stop the heartbeats, as the death of the process does."""
    work.run._stop.set()
    work.run._thread.join()


def disconnect_everything(work: Work) -> None:
    """End all sessions of the database, as a restart of Postgres does."""
    own = Database(work.database.engine.url.render_as_string(hide_password=False))
    with own.begin() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    own.close()


def test_a_living_run_renews_its_claims(open_work):
    work = open_work(lease_s=1)
    work.discover(stored("a.mp4"))
    work.claim(lease_s=1)
    time.sleep(1.6)
    assert recover_dead_runs(work.database, max_crashes=3) == []
    assert claimed(work) == [work.run.id]


def test_a_run_survives_the_loss_of_all_its_connections(open_work):
    work = open_work(lease_s=3)
    work.discover(stored("a.mp4"))
    work.claim(lease_s=3)
    disconnect_everything(work)
    for _ in range(4):
        assert recover_dead_runs(work.database, max_crashes=3) == []
        time.sleep(1)
    assert (status(work), claimed(work)) == ("running", [work.run.id])


def test_claims_of_a_dead_run_come_back_when_its_heartbeats_are_overdue(work, open_work):
    dying = open_work(lease_s=1)
    work.discover(stored("a.mp4"))
    dying.claim(lease_s=60)
    kill(dying)
    assert recover_dead_runs(work.database, max_crashes=3) == [], "its last heartbeat is younger than a second"
    time.sleep(1.1)
    assert recover_dead_runs(work.database, max_crashes=3) == [dying.run.id]
    assert work.claim() == [], "it may have killed its run"
    assert [(claim.attempt, claim.alone) for claim in work.claim_suspect()] == [(1, True)]
    assert status(dying) == "crashed"


def test_a_run_from_before_the_heartbeats_counts_as_dead(work, open_work):
    with work.database.begin() as connection:
        connection.execute(
            text("UPDATE nightreel.runs SET alive_until = NULL WHERE id = :id"), {"id": open_work().run.id}
        )
    assert len(recover_dead_runs(work.database, max_crashes=3)) == 1


def test_simultaneous_recoveries_mark_a_dead_run_once(work, open_work):
    dead = [open_work(lease_s=1) for _ in range(5)]
    for run in dead:
        kill(run)
    time.sleep(1.1)
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.extend(recover_dead_runs(work.database, max_crashes=3))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [run.run.id for run in dead]


def test_a_run_that_was_taken_for_dead_says_so_and_its_end_is_recorded(work, open_work, caplog):
    suspended = open_work(lease_s=1)
    kill(suspended)
    time.sleep(1.1)
    later = open_work()
    assert recover_dead_runs(work.database, max_crashes=3) == [suspended.run.id]
    with work.database.begin() as connection:
        assert any_died_during(connection, later.run.id)
        assert not any_died_during(connection, open_work().run.id), "it began after that"
    suspended.run._beat()
    assert "was taken for dead" in caplog.text
    assert status(suspended) == "crashed", "its claims are gone: a heartbeat does not bring them back"
    suspended.run.finish("completed", counts={})
    assert status(suspended) == "completed"


def test_a_failed_heartbeat_is_repeated_sooner_than_the_next_one_is_due(open_work, monkeypatch):
    """After an outage, living runs must send a heartbeat before another run takes them for dead."""
    work = open_work(lease_s=3)
    beats: list[float] = []

    def beat() -> None:
        beats.append(time.monotonic())
        work.database.engine.dispose()
        with Database("postgresql+psycopg://nobody@127.0.0.1:1/none").begin():
            raise AssertionError("nothing listens on this port")

    monkeypatch.setattr("nightreel.database.runs._AGAIN_S", 0.1)
    monkeypatch.setattr(work.run, "_beat", beat)
    time.sleep(2)
    assert len(beats) > 5


def test_a_run_is_undecided_until_a_heartbeat_or_its_death(work, open_work):
    alive, dead = open_work(lease_s=1), open_work(lease_s=1)
    ids = [alive.run.id, dead.run.id]
    kill(dead)
    signs = LifeSigns()

    def undecided() -> float | None:
        recover_dead_runs(work.database, max_crashes=3)
        with work.database.begin() as connection:
            return signs.undecided_s(connection, ids)

    first = undecided()
    assert first is not None
    assert 0.5 < first <= 1
    time.sleep(1.2)
    assert undecided() is None
    assert (status(alive), status(dead)) == ("running", "crashed")


@pytest.mark.parametrize("behind", ["Postgres", "pgbouncer"])
def test_nothing_outlives_a_transaction_in_a_session(work, behind, request):
    """Behind a pooler in transaction mode, the next transaction of another client gets the same session."""
    url = make_url(request.getfixturevalue("pooled_url")) if behind == "pgbouncer" else work.database.engine.url
    database = Database(url.render_as_string(hide_password=False), pool_size=1)
    for number in range(20):  # psycopg prepares a statement that it has run five times
        work.discover(stored(f"{number}.mp4"))
        with database.begin() as connection:
            connection.execute(text("SELECT count(*) FROM nightreel.videos")).scalar_one()
    with database.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one() == 0
        locks = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory'"
        assert connection.execute(text(f"{locks} AND state = 'idle'")).scalar_one() == 0
    database.close()
