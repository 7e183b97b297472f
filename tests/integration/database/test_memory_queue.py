"""The memory queue in Postgres: requests are ordered and expire, and watchers are notified of changes."""

from __future__ import annotations

import threading
import time

import pytest

from nightreel.database.connection import Database
from nightreel.database.memory_queue import enqueue, extend_ticket, leave_queue, read_queue, record_grant, watch_queue
from nightreel.domain import MemoryRequest


def _join(database: Database, *, valid_s: float = 60, host: str = "a") -> int:
    request = MemoryRequest(host=host, capacities={"gpu": 100}, mib=60)
    with database.begin() as connection:
        return enqueue(connection, request, run_id=None, pid=1, valid_s=valid_s)


def _tickets(database: Database, host: str | None = "a") -> list[int]:
    with database.begin() as connection:
        return [place.ticket for place in read_queue(connection, host)]


def test_the_queue_of_a_host_is_ordered_by_time_of_request(database):
    tickets = [_join(database) for _ in range(3)]
    other = _join(database, host="b")
    assert _tickets(database) == tickets
    assert _tickets(database, None) == [*tickets, other]


def test_a_ticket_that_is_not_extended_expires(database):
    dead, alive = _join(database, valid_s=0.2), _join(database, valid_s=0.2)
    with database.begin() as connection:
        assert extend_ticket(connection, alive, valid_s=60)
    time.sleep(0.3)
    assert _tickets(database) == [alive]
    _join(database)
    with database.begin() as connection:
        assert not extend_ticket(connection, dead, valid_s=60), "the next request deleted the expired one"


def test_a_granted_request_that_is_not_extended_is_silent(database):
    ticket = _join(database)
    with database.begin() as connection:
        record_grant(connection, ticket, ("gpu",), mib=1, valid_s=30)
        (place,) = read_queue(connection, "a", silent_below_s=20)
        assert (place.granted, place.silent) == (("gpu",), False)
        assert read_queue(connection, "a", silent_below_s=40)[0].silent


@pytest.mark.parametrize("what", ["given back", "granted"])
def test_watchers_are_notified(database, what):
    ticket = _join(database)

    def change() -> None:
        time.sleep(0.3)
        with database.begin() as connection:
            if what == "granted":
                record_grant(connection, ticket, ("gpu",), mib=1, valid_s=30)
            else:
                leave_queue(connection, ticket)

    with watch_queue(database) as heard:
        assert not heard(0.05)
        thread = threading.Thread(target=change)
        thread.start()
        assert heard(10)
        thread.join()
