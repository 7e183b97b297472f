"""The wait between attempts."""

import pytest

from nightreel.backoff import backoff_s


@pytest.mark.parametrize(("failures", "longest_s"), [(1, 2.0), (2, 10.0), (3, 50.0)])
def test_a_wait_grows_with_each_failure_within_its_bounds(failures: int, longest_s: float) -> None:
    waits = [backoff_s(failures, first_s=2.0, factor=5) for _ in range(1000)]
    assert longest_s / 2 <= min(waits) < longest_s * 0.6
    assert longest_s * 0.9 < max(waits) <= longest_s
