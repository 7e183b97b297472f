"""Who of those that wait for a device's memory may have it next. Pure: `leases` asks it with the line as it is.

A line is served in the order of its tickets. Were that all, a large request at its head would keep free memory from
smaller ones for as long as it waits; were nobody kept back, a steady flow of small ones would keep the large one
waiting for ever. So a request may go before an earlier one just as long as the earlier one is held up by those that
came before itself. Once it is held up by none but later ones, it is passed no more, and the next memory is its own.
No clock and no guess of how long anybody holds: what a request waits is bounded by those before it, and by those that
took their memory meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A request in the line of a host, waiting or served.

    Args:
        ticket: its place; later ones are larger.
        limits: the concurrency limits it is for: any one of them, or all where `spread`.
        mib: of each.
        granted: those it was taken from; empty while it waits.
        silent: it holds memory, and was not heard of for so long that it may be dead. Then its memory is free when its
            lease is over, and no sooner for anybody's waiting: it holds others up as if it had been there before them.
    """

    ticket: int
    limits: tuple[str, ...]
    mib: int
    spread: bool = False
    granted: tuple[str, ...] = ()
    silent: bool = False
    run_id: int | None = None
    pid: int | None = None
    requested_at: datetime | None = None
    granted_at: datetime | None = None


def next_limits(ticket: int, line: Sequence[Place], capacities: Mapping[str, int]) -> tuple[str, ...]:
    """The limits that a waiting request may take now; none while it has to wait.

    Of several that would do, the one with the most free memory.

    Args:
        line: of its host, in the order of tickets, with the request in it.
        capacities: of the limits, MiB.

    >>> held = Place(ticket=1, limits=("gpu",), mib=60, granted=("gpu",))
    >>> large, small = Place(ticket=2, limits=("gpu",), mib=90), Place(ticket=3, limits=("gpu",), mib=30)
    >>> next_limits(3, [held, large, small], {"gpu": 100})  # the large one waits for ticket 1 in any case
    ('gpu',)
    >>> passed = Place(ticket=3, limits=("gpu",), mib=30, granted=("gpu",))
    >>> next_limits(4, [large, passed, Place(ticket=4, limits=("gpu",), mib=30)], {"gpu": 100})  # now for nobody else
    ()
    """
    mine = next(place for place in line if place.ticket == ticket)
    open_limits = [limit for limit in mine.limits if _may_take(mine, line, limit, capacities[limit])]
    if mine.spread:
        return mine.limits if len(open_limits) == len(mine.limits) else ()
    return tuple(sorted(open_limits, key=lambda limit: held_mib(line, limit) - capacities[limit])[:1])


def held_mib(line: Sequence[Place], limit: str) -> int:
    """What those who are served hold of a limit."""
    return sum(place.mib for place in line if limit in place.granted)


def _may_take(mine: Place, line: Sequence[Place], limit: str, capacity: int) -> bool:
    held = held_mib(line, limit)
    if held + mine.mib > capacity:
        return False
    for earlier in line:
        if earlier.ticket >= mine.ticket or earlier.granted or limit not in earlier.limits:
            continue
        elders = sum(
            place.mib for place in line if limit in place.granted and (place.ticket < earlier.ticket or place.silent)
        )
        fits_beside = held + mine.mib + earlier.mib <= capacity
        if elders + earlier.mib <= capacity and not fits_beside:
            return False
    return True
