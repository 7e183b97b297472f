"""How long to wait before the next try. Storage, model servers and claims all use this one rule."""

from __future__ import annotations

import random

MOST_S = 300.0
"""The longest wait, whatever the number of failures, unless a caller gives another one."""


def backoff_s(failures: int, *, first_s: float, factor: float = 2.0, most_s: float = MOST_S) -> float:
    """Seconds to wait after a number of failures in a row.

    The wait grows by `factor` with each failure, up to `most_s`. A random half of it is left out ("equal jitter"), so
    that callers which failed together do not come back together.

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    Args:
        failures: at least 1.
        first_s: longest wait after the first failure.
    """
    longest_s, left = first_s, failures - 1
    while left > 0 and longest_s < most_s:
        longest_s, left = longest_s * factor, left - 1
    longest_s = min(longest_s, most_s)
    return longest_s * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret
