"""Fusion: one order of two lists of hits, by reciprocal rank."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

_K = 60
_Item = TypeVar("_Item", bound=Hashable)


def fuse(rankings: Iterable[Sequence[_Item]]) -> list[tuple[_Item, float]]:
    """Items of several rankings with their scores, the best first: the sum of 1 / (60 + rank) over the rankings.

    A rank says the same in every list; a score of words and a cosine cannot be compared.

    Source: Cormack, Clarke, Buettcher: Reciprocal rank fusion outperforms Condorcet and individual rank learning
    methods (SIGIR 2009).

    >>> [item for item, _ in fuse([["van", "bus"], ["bus", "car"]])]
    ['bus', 'van', 'car']
    """
    scores: dict[_Item, float] = defaultdict(float)
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] += 1 / (_K + rank)
    return sorted(scores.items(), key=lambda pair: -pair[1])
