"""The rows of those who wait for memory: in order, gone by themselves, heard of by those who watch."""

from __future__ import annotations

import threading
import time

import pytest

from nightreel.database.connection import Database
from nightreel.database.memory_queue import join_line, leave_line, read_line, record_grant, stay_in_line, watch_line
from nightreel.domain import MemoryRequest


def _join(database: Database, *, stay_s: float = 60, host: str = "a") -> int:
    request = MemoryRequest(host=host, capacities={"gpu": 100}, mib=60)
    with database.begin() as connection:
        return join_line(connection, request, run_id=None, pid=1, stay_s=stay_s)


def _tickets(database: Database, host: str | None = "a") -> list[int]:
    with database.begin() as connection:
        return [place.ticket for place in read_line(connection, host)]


def test_the_line_of_a_host_is_in_the_order_of_asking(database):
    tickets = [_join(database) for _ in range(3)]
    other = _join(database, host="b")
    assert _tickets(database) == tickets
    assert _tickets(database, None) == [*tickets, other]


def test_a_ticket_that_nobody_extends_is_gone(database):
    dead, alive = _join(database, stay_s=0.2), _join(database, stay_s=0.2)
    with database.begin() as connection:
        assert stay_in_line(connection, alive, stay_s=60)
    time.sleep(0.3)
    assert _tickets(database) == [alive]
    _join(database)
    with database.begin() as connection:
        assert not stay_in_line(connection, dead, stay_s=60), "the next to come swept it out"


def test_who_holds_memory_and_is_not_heard_of_is_silent(database):
    ticket = _join(database)
    with database.begin() as connection:
        record_grant(connection, ticket, ("gpu",), stay_s=30)
        (place,) = read_line(connection, "a", silent_below_s=20)
        assert (place.granted, place.silent) == (("gpu",), False)
        assert read_line(connection, "a", silent_below_s=40)[0].silent


@pytest.mark.parametrize("what", ["given back", "granted"])
def test_those_who_watch_hear_of_it(database, what):
    ticket = _join(database)

    def change() -> None:
        time.sleep(0.3)
        with database.begin() as connection:
            if what == "granted":
                record_grant(connection, ticket, ("gpu",), stay_s=30)
            else:
                leave_line(connection, ticket)

    with watch_line(database) as heard:
        assert not heard(0.05)
        thread = threading.Thread(target=change)
        thread.start()
        assert heard(10)
        thread.join()
