"""The judge of a lease log finds overdrawn devices, unserved requests and idle memory."""

from __future__ import annotations

import pytest
from benchmarks.lease_log import Verdict, judge, most_held, unserved

LEASE_S = 60.0


def verdict(*events: tuple[float, str, int, int, int]) -> Verdict:
    """Judge (second, event, request, MiB, process) events on a device of 100 MiB."""
    names = ("at", "event", "number", "mib", "process")
    return judge([dict(zip(names, event, strict=True)) for event in events], device_mib=100, lease_s=LEASE_S)


def test_an_overdrawn_device_is_found():
    found = verdict((0, "asked", 1, 60, 0), (1, "granted", 1, 60, 0), (1, "asked", 2, 60, 1), (2, "granted", 2, 60, 1))
    assert found.most_mib == 120


def test_an_unserved_request_is_found():
    found = verdict((0, "asked", 1, 60, 0), (1, "granted", 1, 60, 0), (2, "asked", 2, 60, 1), (3, "released", 1, 60, 0))
    assert (found.asked, found.served) == (2, 1)


def test_memory_is_idle_only_while_a_request_that_fits_waits():
    found = verdict(
        (0, "asked", 1, 60, 0),
        (0, "granted", 1, 60, 0),
        (0, "asked", 2, 40, 1),  # fits beside the first, but waits 5 s
        (5, "granted", 2, 40, 1),
        (5, "asked", 3, 90, 1),  # does not fit
        (10, "released", 1, 60, 0),
        (10, "released", 2, 40, 1),
        (10, "granted", 3, 90, 1),
        (20, "released", 3, 90, 1),
    )
    assert found.idle == pytest.approx(5 * 40 / (100 * 10))
    assert found.tempting == pytest.approx(0.5)
    assert found.used == pytest.approx((60 * 10 + 40 * 5 + 90 * 10) / (100 * 20))
    assert found.patience == pytest.approx(1.0)


def test_memory_of_a_killed_process_counts_as_taken_until_its_lease_ends():
    end = LEASE_S + 15
    events = [
        (0.0, "asked", 1, 60, 0),
        (0.0, "granted", 1, 60, 0),
        (0.0, "asked", 2, 50, 1),
        (1.0, "asked", 3, 50, 0),
        (1.0, "killed", 0, 0, 0),
        (end + 11, "granted", 2, 50, 1),
    ]
    found = verdict(*events)
    assert (found.asked, found.served) == (2, 2), "requests of a killed process do not count"
    assert found.idle == pytest.approx(10 * 100 / (100 * (end + 11)))


def grants(*events: tuple[str, int, dict[str, int]]) -> list[dict]:
    """Events of process 0: (event, request, MiB by limit)."""
    return [
        {"event": event, "number": number, "process": 0, **({"held": held} if held else {})}
        for event, number, held in events
    ]


def test_the_most_that_was_held_of_each_of_several_devices_is_found():
    log = grants(
        ("granted", 1, {"a": 60}),
        ("granted", 2, {"a": 10, "b": 10}),
        ("released", 1, {}),
        ("granted", 3, {"a": 50, "b": 5}),
    )
    assert most_held(log) == {"a": 70, "b": 15}
    assert most_held([*log[:2], {"event": "killed", "process": 0}, log[3]]) == {"a": 70, "b": 10}


def test_a_request_that_is_never_served_is_found():
    assert unserved(grants(("asked", 1, {}), ("asked", 2, {}), ("granted", 2, {"a": 1}))) == {1}
