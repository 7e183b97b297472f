"""Which request is granted next: none waits for later ones, and no memory stays idle needlessly."""

from __future__ import annotations

import random
from dataclasses import replace

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


def test_a_request_takes_the_device_with_the_fewest_runs():
    """A large device with one run may have more free memory than a small one without: one would be idle."""
    places = [
        QueuedRequest(ticket=1, limits=("large", "small"), mib=10, granted=("large",)),
        QueuedRequest(ticket=2, limits=("large", "small"), mib=10),
    ]
    assert next_limits(2, places, {"large": 80, "small": 24}) == ("small",)


def test_of_a_small_device_a_request_takes_all():
    places = [
        QueuedRequest(ticket=1, limits=("large", "small"), mib=60, granted=("large",)),
        QueuedRequest(ticket=2, limits=("large", "small"), mib=60),
        QueuedRequest(ticket=3, limits=("small",), mib=10),
    ]
    assert next_limits(2, places, {"large": 80, "small": 24}) == ("small",)
    assert next_limits(3, places, {"large": 80, "small": 24}) == (), "the small device is promised to ticket 2"


def test_a_device_works_while_a_spread_model_waits_for_earlier_ones_on_another():
    def places(*, of_b: int) -> list[QueuedRequest]:
        return [
            QueuedRequest(ticket=of_b, limits=("b",), mib=90, granted=("b",)),
            QueuedRequest(ticket=2, limits=("a", "b"), mib=60, spread=True),
            QueuedRequest(ticket=4, limits=("a",), mib=90),
        ]

    both = {"a": 100, "b": 100}
    assert next_limits(4, places(of_b=1), both) == ("a",), "device a would be idle"
    assert next_limits(4, places(of_b=3), both) == (), "only later ones hold the spread model up: none passes it"
    assert next_limits(4, places(of_b=1), {"a": 100}) == (), "the capacity of b is not known"


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


def _arrivals(chance: random.Random, capacities: dict[str, int], number: int) -> QueuedRequest:
    """A request of any kind that runs make on a host with these devices."""
    mib = chance.choice([6, 12, 25, 50, 75, 90])
    match chance.choice(["any", "any", "one", "spread"]):
        case "one":
            limits = (chance.choice(sorted(capacities)),)
        case "spread":
            return QueuedRequest(
                ticket=number, limits=tuple(capacities), mib=min(mib, *capacities.values()), spread=True
            )
        case _:
            least = mib // chance.choice([1, 2, 8])
            limits = tuple(limit for limit, capacity in capacities.items() if capacity >= least)
    return QueuedRequest(ticket=number, limits=limits or ("large",), mib=mib)


@pytest.mark.parametrize("seed", range(20))
def test_on_unequal_devices_every_request_is_granted_and_no_limit_is_passed(seed):
    """Runs on any device, runs on one device, and spread models arrive steadily, more than the devices can hold."""
    chance = random.Random(seed)
    capacities = {"large": 100, "middle": 48, "small": 10}
    queue: list[QueuedRequest] = []
    ends: dict[int, int] = {}
    asked, served = 0, set()
    for now in range(6000):
        if asked < 200 and chance.random() < 0.3:
            queue.append(_arrivals(chance, capacities, asked))
            asked += 1
        queue = [request for request in queue if ends.get(request.ticket, now + 1) > now]
        waiting = [request for request in queue if not request.granted]
        for request in chance.sample(waiting, len(waiting)):
            if limits := next_limits(request.ticket, queue, {limit: capacities[limit] for limit in request.limits}):
                mib = min(request.mib, *(capacities[limit] for limit in limits))
                queue[queue.index(request)] = replace(request, granted=limits, mib=mib)
                ends[request.ticket] = now + chance.randint(2, 20)
                served.add(request.ticket)
        for limit, capacity in capacities.items():
            assert held_mib(queue, limit) <= capacity
    assert served == set(range(200))
    assert queue == []
