"""How far several people agree on the same items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence


def krippendorff_alpha(units: Iterable[Sequence[Hashable]]) -> float | None:
    """Krippendorff's alpha of nominal labels: 1 is full agreement, 0 is chance, below 0 is systematic disagreement.

    Computed from coincidences (Krippendorff, Content Analysis, 2004, chapter 11). Any number of people may label an
    item, and people may label different items. An item with fewer than two labels says nothing.

    Args:
        units: the labels of each item, one a person.

    Returns:
        None where nothing can be said: no item has two labels, or all labels are the same one.

    >>> krippendorff_alpha([["yes", "yes"], ["no", "no"], ["yes", "no"], ["yes"]])
    0.444...
    """
    observed = 0.0  # pairs of different labels within an item, each item weighted by its labels
    totals: Counter[Hashable] = Counter()
    for labels in units:
        count = len(labels)
        if count < 2:
            continue
        found = Counter(labels)
        totals.update(found)
        observed += sum(n * (count - n) for n in found.values()) / (count - 1)
    size = sum(totals.values())
    expected = sum(n * (size - n) for n in totals.values()) / (size - 1) if size else 0.0
    return 1 - observed / expected if expected else None
