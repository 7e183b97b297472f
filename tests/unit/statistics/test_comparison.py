import pytest

from nightreel.statistics.comparison import accuracy, compare


def test_equal_models_do_not_differ() -> None:
    same = [True, False, True]
    assert compare(same, same).p_value == 1


def test_a_model_that_is_better_on_ten_items_differs() -> None:
    found = compare([False] * 10 + [True] * 90, [True] * 100)
    assert (found.only_first, found.only_second, found.gain) == (0, 10, 0.1)
    assert found.p_value == pytest.approx(2 / 2**10)


@pytest.mark.parametrize(("first", "second"), [([], []), ([True], [True, False])])
def test_other_items_are_refused(first: list[bool], second: list[bool]) -> None:
    with pytest.raises(ValueError, match="not the same items"):
        compare(first, second)


def test_accuracy_has_an_interval() -> None:
    found = accuracy([True] * 9 + [False])
    assert (found.low < 0.9 < found.high, found.value) == (True, 0.9)
