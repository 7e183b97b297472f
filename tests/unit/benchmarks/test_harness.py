"""The benchmarks' harness: sides take turns, disagreement stops them, and missed goals stay in the table."""

import json

import pytest
from benchmarks import harness
from benchmarks.harness import Measurement


def _side(log, name, *, cpu_s=1.0, value=None):
    def run():
        log.append(name)
        return Measurement(wall_s=2 * cpu_s, cpu_s=cpu_s, peak_rss_mib=10.0, value=value)

    return run


def test_sides_take_turns():
    log = []
    harness.take_turns({"ours": _side(log, "a"), "other": _side(log, "b")}, rounds=3)
    assert log == ["a", "b"] * 3


def test_sides_that_do_not_agree_are_not_compared():
    sides = {"ours": _side([], "a", value=[1, 2]), "other": _side([], "b", value=[1, 3])}
    with pytest.raises(AssertionError, match=r"ours and other do not agree"):
        harness.take_turns(sides, agree=lambda ours, other: ours == other)


def test_a_ratio_is_the_median_over_pairs_and_compared_with_its_goal():
    ours = [Measurement(0, cpu_s, 0) for cpu_s in (2.0, 9.0, 1.0)]
    other = [Measurement(0, cpu_s, 0) for cpu_s in (1.0, 3.0, 1.0)]
    row = harness.compare("x", {"ours": ours, "plain": other}, other="plain", metric="cpu_s", at_most=1.1)
    assert (row.ours, row.other, row.ratio, row.unit) == (2.0, 1.0, 2.0, "s")
    assert row.goal == "<= 1.1"
    assert not row.met


def test_a_side_in_a_subprocess_is_measured_there():
    measured = harness.in_subprocess("json:dumps", {"a": 1})()
    assert measured.value == '{"a": 1}'
    assert measured.peak_rss_mib > 5


def test_a_failing_side_raises_its_error():
    with pytest.raises(RuntimeError, match="JSONDecodeError"):
        harness.in_subprocess("json:loads", "not json")()


def test_the_report_keeps_results_that_missed_their_goal(tmp_path, capsys):
    runs = {"ours": [Measurement(0, 2.0, 0)], "plain": [Measurement(0, 1.0, 0)]}
    report = harness.Report("demo", versions=("numpy",))
    report.add(harness.compare("slow", runs, other="plain", metric="cpu_s", at_most=1.0))
    content = json.loads(report.finish(tmp_path).read_text())
    assert set(content["rows"][0]) == {"name", "ours", "other", "other_is", "unit", "ratio", "goal", "met", "note"}
    assert content["rows"][0]["met"] is False
    assert content["header"]["versions"]["numpy"]
    assert "1 short of their goal" in capsys.readouterr().out
