"""Publishing a result replaces only its own table."""

import doctest
import json

from benchmarks import publish
from benchmarks.publish import publish as write

HEADER = {
    "machine": {"cpu": "Abacus", "cores": 2, "memory_gib": 1.0},
    "versions": {"av": "18.1.0"},
    "commit": "abc",
    "at": "2026-01-02T03:04:05Z",
}
ROW = {"name": "frames", "ours": 1053.4, "other": 2.0, "other_is": "decord", "unit": "mib", "ratio": 0.5,
       "goal": "<= 1", "met": True, "note": ""}  # fmt: skip


def _published(tmp_path, rows):
    document, results = tmp_path / "benchmarks.md", tmp_path / "results"
    results.mkdir(exist_ok=True)
    document.write_text("# Benchmarks\n\nRead me.\n\n## decode\n\nold\n\n## sql\n\nkept\n")
    (results / "decode.json").write_text(json.dumps({"header": HEADER, "rows": rows}))
    write(document, results)
    return document.read_text()


def test_a_result_replaces_its_part_and_leaves_the_others(tmp_path):
    text = _published(tmp_path, [ROW, ROW | {"met": False}])
    assert text.startswith("# Benchmarks\n\nRead me.\n\n## decode\n\nAbacus, 2 cores, 1.0 GiB, no GPU; 2026-01-02")
    assert "| frames | 1,053 MiB | 2 MiB | decord | 0.50 | <= 1 | yes |  |\n" in text
    assert "| <= 1 | **no** |" in text
    assert text.endswith("## sql\n\nkept\n")
    assert "old" not in text


def test_a_large_part_shows_only_rows_with_a_goal(tmp_path):
    text = _published(tmp_path, [ROW] + [ROW | {"goal": "none", "name": "other"}] * 50)
    assert "| frames |" in text
    assert "\n| other |" not in text
    assert "all 51" in text


def test_figures_match_their_examples():
    assert doctest.testmod(publish).failed == 0
