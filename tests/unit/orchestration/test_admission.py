"""Which request is granted next: none waits for later ones, and no memory stays idle needlessly."""

from __future__ import annotations

import random

import pytest

from nightreel.domain import QueuedRequest
from nightreel.orchestration.admission import held_mib, next_limits

GPU = {"gpu": 100}


def line(*requests: tuple[int, bool]) -> list[QueuedRequest]:
    """Requests of one device in order: (MiB, whether it is granted)."""
    return [
        QueuedRequest(ticket=ticket, limits=("gpu",), mib=mib, granted=("gpu",) if served else ())
        for ticket, (mib, served) in enumerate(requests)
    ]


def may(ticket: int, places: list[QueuedRequest]) -> bool:
    return next_limits(ticket, places, GPU) == ("gpu",)


def test_a_request_that_fits_is_granted_immediately():
    assert may(1, line((60, True), (40, False)))
    assert not may(1, line((60, True), (41, False)))


def test_the_first_request_in_the_queue_is_granted_first():
    assert not may(1, line((60, False), (60, False)))
    assert may(0, line((60, False), (60, False)))


def test_a_small_request_passes_a_large_one_that_waits_for_earlier_ones():
    assert may(2, line((50, True), (90, False), (40, False)))


def test_a_request_that_waits_only_for_later_ones_is_not_passed():
    after_its_elders_left = line((90, False), (40, True), (40, False))
    assert not may(2, after_its_elders_left)


def test_a_silent_request_that_holds_memory_does_not_block_others():
    def places(*, silent: bool) -> list[QueuedRequest]:
        passed = QueuedRequest(ticket=2, limits=("gpu",), mib=40, granted=("gpu",), silent=silent)
        return [
            QueuedRequest(ticket=1, limits=("gpu",), mib=90),
            passed,
            QueuedRequest(ticket=3, limits=("gpu",), mib=40),
        ]

    assert not may(3, places(silent=False))
    assert may(3, places(silent=True)), "the large request has to wait for the lease to end anyway"


def test_a_request_that_fits_beside_the_one_ahead_does_not_wait():
    assert may(2, line((50, True), (20, False), (30, False)))


def test_a_request_takes_the_device_with_the_most_free_memory():
    places = [
        QueuedRequest(ticket=1, limits=("a",), mib=70, granted=("a",)),
        QueuedRequest(ticket=2, limits=("b",), mib=20, granted=("b",)),
        QueuedRequest(ticket=3, limits=("a", "b"), mib=30),
    ]
    assert next_limits(3, places, {"a": 100, "b": 100}) == ("b",)


def test_a_spread_model_takes_all_devices_or_none():
    def places(held: int) -> list[QueuedRequest]:
        return [
            QueuedRequest(ticket=1, limits=("a",), mib=held, granted=("a",)),
            QueuedRequest(ticket=2, limits=("a", "b"), mib=60, spread=True),
        ]

    assert next_limits(2, places(40), {"a": 100, "b": 100}) == ("a", "b")
    assert next_limits(2, places(41), {"a": 100, "b": 100}) == ()


def test_a_request_for_another_device_does_not_block_this_one():
    places = [QueuedRequest(ticket=1, limits=("b",), mib=100), QueuedRequest(ticket=2, limits=("a",), mib=10)]
    assert next_limits(2, places, {"a": 100, "b": 100}) == ("a",)


@pytest.mark.parametrize("seed", range(20))
def test_all_requests_are_granted_within_the_limit(seed):
    """Requests of all sizes, up to nearly the whole device, arrive steadily."""
    chance = random.Random(seed)
    places: list[QueuedRequest] = []
    ends: dict[int, int] = {}
    asked, served = 0, set()
    for now in range(4000):
        if asked < 200 and chance.random() < 0.3:
            places.append(QueuedRequest(ticket=asked, limits=("gpu",), mib=chance.choice([6, 12, 25, 50, 75, 90])))
            asked += 1
        places = [place for place in places if ends.get(place.ticket, now + 1) > now]
        for place in list(places):
            if not place.granted and next_limits(place.ticket, places, GPU):
                granted = QueuedRequest(ticket=place.ticket, limits=place.limits, mib=place.mib, granted=("gpu",))
                places[places.index(place)] = granted
                ends[place.ticket] = now + chance.randint(2, 20)
                served.add(place.ticket)
        assert held_mib(places, "gpu") <= 100
    assert served == set(range(200))
    assert places == []
