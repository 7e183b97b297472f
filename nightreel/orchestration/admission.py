"""Which waiting request is granted a device's memory next. Pure functions: `leases` calls them with the current queue.

The queue is served in the order of tickets, with one exception. In strict order, a large request at the head would keep
free memory from smaller ones while it waits. Without any order, a steady flow of small requests would keep the large
one waiting forever. So a request may pass an earlier one only while requests before the earlier one already prevent its
grant. Once only later requests prevent it, no request passes it any more, and it gets the next free memory.

The rule needs no clock and no guess of how long memory is held. The wait of a request is bounded by the requests before
it, and by those that were granted memory in the meantime.

A spread model needs memory of all its devices at the same time. As long as requests before it hold one of them, later
requests may have the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nightreel.domain import QueuedRequest


def next_limits(ticket: int, queue: Sequence[QueuedRequest], capacities: Mapping[str, int]) -> tuple[str, ...]:
    """The limits that a waiting request may take memory from now; empty while it must wait.

    If several limits have enough free memory, the one with the fewest holders, so that no device is without a run while
    another has two. Of these, the one with the most free memory.

    Args:
        queue: of the request's host, in the order of tickets, including the request.
        capacities: of the host's limits, MiB: at least of those of the request.

    >>> held = QueuedRequest(ticket=1, limits=("gpu",), mib=60, granted=("gpu",))
    >>> large = QueuedRequest(ticket=2, limits=("gpu",), mib=90)
    >>> small = QueuedRequest(ticket=3, limits=("gpu",), mib=30)
    >>> next_limits(3, [held, large, small], {"gpu": 100})  # the large one must wait for ticket 1 anyway
    ('gpu',)
    >>> passed = QueuedRequest(ticket=3, limits=("gpu",), mib=30, granted=("gpu",))
    >>> another = QueuedRequest(ticket=4, limits=("gpu",), mib=30)
    >>> next_limits(4, [large, passed, another], {"gpu": 100})  # now nothing passes the large one any more
    ()
    """
    own = next(request for request in queue if request.ticket == ticket)
    free = [limit for limit in own.limits if _may_take(own, queue, limit, capacities)]
    if own.spread:
        return own.limits if len(free) == len(own.limits) else ()

    def order(limit: str) -> tuple[int, int]:
        holders = sum(limit in request.granted for request in queue)
        return holders, held_mib(queue, limit) - capacities[limit]

    return tuple(sorted(free, key=order)[:1])


def held_mib(queue: Sequence[QueuedRequest], limit: str) -> int:
    """MiB of a limit that granted requests hold."""
    return sum(request.mib for request in queue if limit in request.granted)


def _may_take(own: QueuedRequest, queue: Sequence[QueuedRequest], limit: str, capacities: Mapping[str, int]) -> bool:
    capacity = capacities[limit]
    left = capacity - held_mib(queue, limit) - min(own.mib, capacity)
    if left < 0:
        return False
    return all(
        min(earlier.mib, capacity) <= left or _waits_for_earlier(earlier, queue, limit, capacities)
        for earlier in queue
        if earlier.ticket < own.ticket and not earlier.granted and limit in earlier.limits
    )


def _waits_for_earlier(
    waiting: QueuedRequest, queue: Sequence[QueuedRequest], limit: str, capacities: Mapping[str, int]
) -> bool:
    """Whether requests before a waiting one hold it up in any case: on this limit, or on any limit of a spread model.

    Memory of a silent holder is free only when its lease ends, whatever others do.
    """

    def is_held_up(name: str) -> bool:
        before = sum(
            request.mib
            for request in queue
            if name in request.granted and (request.ticket < waiting.ticket or request.silent)
        )
        return before + min(waiting.mib, capacities[name]) > capacities[name]

    needed = [name for name in waiting.limits if name in capacities] if waiting.spread else [limit]
    return any(map(is_held_up, needed))
