"""How an audit draws: strata by the machine's probability, and how many items each of them gives.

Most items have a probability near zero, and most misses lie near the threshold. So the strata become smaller as the
probability rises, and each gets more than its share of the sample.
"""

from __future__ import annotations

from collections.abc import Sequence

BOUNDS = (0.5, 0.8, 0.95, 0.99)
"""Quantiles of the probability that separate the strata: the last one holds the highest hundredth."""
_FEWEST = 2  # of a stratum: one item says nothing about its variance


def allocate(sizes: Sequence[int], sample: int) -> list[int]:
    """How many items to draw from strata of these sizes.

    Half of the sample is shared in proportion to size, which keeps weights alike; half is shared equally, which looks
    closer where misses are likely. What a stratum cannot give goes to the others.

    Returns:
        As many numbers as sizes. Their sum is `sample`, or all items if there are fewer. It is larger only where each
        stratum needs two.

    >>> allocate([8000, 1500, 400, 100], 400)
    [210, 80, 58, 52]
    >>> allocate([10, 0, 3], 100)
    [10, 0, 3]
    """
    given = [0] * len(sizes)
    left = min(sample, sum(sizes))
    while left > 0:
        open_ = [index for index, size in enumerate(sizes) if given[index] < size]
        whole = sum(sizes[index] for index in open_)
        shares = {index: left * (sizes[index] / whole + 1 / len(open_)) / 2 for index in open_}
        before = sum(given)
        for index in sorted(open_, key=lambda index: int(shares[index]) - shares[index]):
            most = min(sizes[index] - given[index], before + left - sum(given))
            given[index] += min(most, max(1, round(shares[index])))
        left = min(sample, sum(sizes)) - sum(given)
    return [max(count, min(_FEWEST, size)) for count, size in zip(given, sizes, strict=True)]
