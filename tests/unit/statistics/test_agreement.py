import pytest

from nightreel.statistics.agreement import krippendorff_alpha

# The example of Krippendorff's "Computing Krippendorff's Alpha-Reliability": four observers, twelve units.
OBSERVERS = ["1233214 12...".replace(" ", ""), "1233224125.3", ".3332342251.", "12332441251."]


def test_alpha_is_that_of_the_published_example() -> None:
    units = [[label for label in column if label != "."] for column in zip(*OBSERVERS, strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=0.0005)


def test_people_who_always_agree_have_alpha_one() -> None:
    assert krippendorff_alpha([["yes", "yes", "yes"], ["no", "no"]]) == 1


def test_people_who_always_disagree_have_alpha_below_zero() -> None:
    alpha = krippendorff_alpha([["yes", "no"]] * 10)
    assert alpha is not None
    assert alpha < 0


@pytest.mark.parametrize("units", [[], [["yes"], ["no"]], [["yes", "yes"], ["yes", "yes"]]])
def test_nothing_is_said_without_two_labels_that_could_differ(units: list[list[str]]) -> None:
    assert krippendorff_alpha(units) is None
