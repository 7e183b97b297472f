from hypothesis import given
from hypothesis import strategies as st

from nightreel.statistics.sampling import allocate


@given(st.lists(st.integers(0, 5000), max_size=8), st.integers(0, 3000))
def test_a_sample_takes_what_there_is_and_no_more(sizes: list[int], sample: int) -> None:
    drawn = allocate(sizes, sample)
    assert all(min(2, size) <= n <= size for n, size in zip(drawn, sizes, strict=True))
    wanted = min(sample, sum(sizes))
    assert wanted <= sum(drawn) <= wanted + 2 * len(sizes)


def test_higher_strata_are_looked_at_more_closely() -> None:
    sizes = [20_000, 12_000, 6_000, 1_600, 400]
    rates = [n / size for n, size in zip(allocate(sizes, 400), sizes, strict=True)]
    assert rates == sorted(rates)
