"""Which waiting request is granted a device's memory next. Pure functions: `leases` calls them with the current queue.

The queue is served in the order of tickets, with one exception. In strict order, a large request at the head would keep
free memory from smaller ones while it waits. Without any order, a steady flow of small requests would keep the large
one waiting forever. So a request may pass an earlier one only while requests before the earlier one already prevent its
grant. Once only later requests prevent it, no request passes it any more, and it gets the next free memory.

The rule needs no clock and no guess of how long memory is held. The wait of a request is bounded by the requests before
it, and by those that were granted memory in the meantime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nightreel.domain import QueuedRequest


def next_limits(ticket: int, queue: Sequence[QueuedRequest], capacities: Mapping[str, int]) -> tuple[str, ...]:
    """The limits that a waiting request may take memory from now; empty while it must wait.

    If several limits have enough free memory, the one with the most.

    Args:
        queue: of the request's host, in the order of tickets, including the request.
        capacities: of the limits, MiB.

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
    free = [limit for limit in own.limits if _may_take(own, queue, limit, capacities[limit])]
    if own.spread:
        return own.limits if len(free) == len(own.limits) else ()
    return tuple(sorted(free, key=lambda limit: held_mib(queue, limit) - capacities[limit])[:1])


def held_mib(queue: Sequence[QueuedRequest], limit: str) -> int:
    """MiB of a limit that granted requests hold."""
    return sum(request.mib for request in queue if limit in request.granted)


def _may_take(own: QueuedRequest, queue: Sequence[QueuedRequest], limit: str, capacity: int) -> bool:
    held = held_mib(queue, limit)
    if held + own.mib > capacity:
        return False
    for earlier in queue:
        if earlier.ticket >= own.ticket or earlier.granted or limit not in earlier.limits:
            continue
        before = sum(
            request.mib
            for request in queue
            if limit in request.granted and (request.ticket < earlier.ticket or request.silent)
        )
        fits_beside = held + own.mib + earlier.mib <= capacity
        if before + earlier.mib <= capacity and not fits_beside:
            return False
    return True
