"""Gauges of the backlog, read from a real Postgres."""

from __future__ import annotations

import pytest
from fixtures.work import stored
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from nightreel.database import memory_queue
from nightreel.database.connection import Database
from nightreel.database.statements import statement
from nightreel.domain import MemoryRequest
from nightreel.metrics import BacklogCollector


@pytest.fixture
def clock():
    class Clock:
        now = 100.0

        def __call__(self) -> float:
            return self.now

    return Clock()


@pytest.fixture
def value(database, clock):
    registry = CollectorRegistry()
    registry.register(BacklogCollector(database, every_s=15, clock=clock))
    return lambda name, **labels: registry.get_sample_value(f"nightreel_{name}", labels)


def test_open_analyses_are_counted_by_status_and_failures_by_reason(work, database, value):
    work.discover(*(stored(f"{number}.mp4") for number in range(7)))
    claimed = [item.analysis_id for item in work.claim(max_videos=5)]
    with database.begin() as connection:
        for status, reason, ids in [
            ("failed", "no_index", claimed[:2]),
            ("quarantined", "decoder_crashed", claimed[2:3]),
            ("done", None, claimed[3:4]),
        ]:
            connection.execute(
                text("UPDATE nightreel.analyses SET status = :status, reason = :reason WHERE id = ANY(:ids)"),
                {"status": status, "reason": reason, "ids": ids},
            )
    counts = {status: value("analyses", status=status) for status in ("pending", "claimed", "failed", "quarantined")}
    assert counts == {"pending": 2, "claimed": 1, "failed": 2, "quarantined": 1}
    assert value("failed_analyses", reason="no_index") == 2
    assert value("failed_analyses", reason="decoder_crashed") == 1
    assert value("database_up") == 1


def test_gauges_are_read_again_only_when_they_are_old(work, value, clock):
    assert value("analyses", status="pending") == 0
    work.discover(stored("a.mp4"))
    clock.now += 14
    assert value("analyses", status="pending") == 0
    clock.now += 1
    assert value("analyses", status="pending") == 1


def test_runs_are_counted_by_status(open_work, value):
    open_work().run.finish("failed")
    open_work()
    assert (value("runs", status="failed"), value("runs", status="running")) == (1, 1)


def test_the_ends_of_runs_are_shown_by_kind(open_work, value, database):
    kinds = {"night 2026-11-26": "night", "analyze clips": "night", "retry clips": "retry", "sweep clips": "sweep"}
    for name in (*kinds, None):
        run = open_work().run
        with database.begin() as connection:
            connection.execute(
                text("UPDATE nightreel.runs SET name = :name WHERE id = :id"), {"name": name, "id": run.id}
            )
        run.finish("completed")
    for kind in kinds.values():
        assert value("last_finished_timestamp_seconds", kind=kind, status="completed")
    assert value("last_finished_timestamp_seconds", kind="shard", status="completed") is None
    assert value("runs", status="completed") == 5


def test_leased_memory_is_shown_by_limit_with_the_longest_wait(database, value):
    with database.begin() as connection:
        for mib, granted in [(100, ("a", "b")), (50, ("b",)), (900, ())]:
            request = MemoryRequest(host="here", capacities={"a": 1000, "b": 1000}, mib=mib, spread=False)
            ticket = memory_queue.enqueue(connection, request, run_id=None, pid=1, valid_s=60)
            if granted:
                memory_queue.record_grant(connection, ticket, granted, mib=mib, valid_s=60)
        connection.execute(text("UPDATE nightreel.memory_leases SET requested_at = now() - interval '90 s'"))
    assert value("memory_leased_bytes", limit="a") == 100 << 20
    assert value("memory_leased_bytes", limit="b") == 150 << 20
    assert value("memory_requests_waiting") == 1
    assert value("memory_longest_wait_seconds") == pytest.approx(90, abs=30)


def test_an_unreachable_database_is_logged_once_and_not_queried_at_every_scrape(clock, caplog):
    registry = CollectorRegistry()
    away = Database("postgresql+psycopg://nobody:nothing@127.0.0.1:1/none")
    registry.register(BacklogCollector(away, every_s=15, clock=clock))
    for _ in range(3):
        assert registry.get_sample_value("nightreel_database_up") == 0
    assert caplog.text.count("metrics of the backlog are missing") == 1


def test_counting_the_backlog_reads_only_indexes(work, database):
    with database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO nightreel.videos (uri, etag, size_bytes, modified_at, run_id) "
                "SELECT 's3://b/' || n, 'e', 1, now(), :run FROM generate_series(1, 20000) AS n"
            ),
            {"run": work.run.id},
        )
        connection.execute(
            text(
                "INSERT INTO nightreel.analyses (video_id, recipe_id, uri, status, reason) "
                "SELECT id, :recipe, uri, CASE WHEN id % 1000 = 0 THEN 'failed' WHEN id % 1000 = 1 THEN 'pending' "
                "ELSE 'done' END, CASE WHEN id % 1000 = 0 THEN 'no_index' END FROM nightreel.videos"
            ),
            {"recipe": work.recipe.id},
        )
        connection.execute(text("ANALYZE nightreel.analyses"))
        plan = connection.execute(text(f"EXPLAIN {statement('queue').text}"), {"most": 1000}).scalars().all()
    assert not [line for line in plan if "Seq Scan on analyses" in line]
    assert {"analyses_pending_idx", "analyses_claimed_idx", "analyses_failed_idx"} <= {
        word for line in plan for word in line.split()
    }
