"""docs/scale.md is computed correctly: every sum in it is computed again from its units."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable
from pathlib import Path

import pytest

_TEXT = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
_NUMBER = r"\d[\d,]*(?:\.\d+)?(?:e\d+)?"
_UNIT_ROWS = re.findall(rf"(?m)^\| `(\w+)` \| ({_NUMBER}) \|", _TEXT)
_SUM_ROWS = re.findall(rf"(?m)^\| `(\w+)` \| [^|]+ \| `([^`|]+)` \| ({_NUMBER}) [^|]+ \|$", _TEXT)
_UNITS = {name: float(value.replace(",", "")) for name, value in _UNIT_ROWS}
_SUMS = {name: (arithmetic, value) for name, arithmetic, value in _SUM_ROWS}
_OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def value_of(name: str) -> float:
    return _UNITS[name] if name in _UNITS else computed(ast.parse(_SUMS[name][0], mode="eval").body)


def computed(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.Name(id=name):
            return value_of(name)
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](computed(left), computed(right))
    raise ValueError(f"{ast.unparse(node)} is not a sum that this test can compute")


def test_no_name_is_defined_twice():
    names = [row[0] for row in (*_UNIT_ROWS, *_SUM_ROWS)]
    assert len(names) == len(set(names)) > 80, "a name is defined twice, or the tables were not found"


@pytest.mark.parametrize("name", _SUMS)
def test_each_sum_equals_the_value_in_the_document(name):
    said = float(_SUMS[name][1].replace(",", ""))
    assert math.isclose(value_of(name), said, rel_tol=0.006), f"{name} = {value_of(name)}, the document says {said}"


def test_the_table_at_the_top_shows_the_results_of_sums():
    """All figures in the columns for a million a day, for a billion, and for the limits."""
    table = _TEXT.partition("\n| | a million")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [cell for line in table for cell in line.split("|")[2:5]]
    sums = {value for _, value in _SUMS.values()} | {f"{value:g}" for value in _UNITS.values()}
    figures = {figure for cell in cells for figure in re.findall(_NUMBER, cell)} - {"1", "2", "0.1"}
    assert len(figures) > 20
    assert figures <= sums, f"not in any sum: {sorted(figures - sums)}"


def test_units_of_the_code_match_the_code():
    """Units that the code defines."""
    from nightreel.domain import SamplingPlan
    from nightreel.prompts.loading import load_prompt_sets
    from nightreel.settings import Settings
    from nightreel.stages.backfill_costs import SHARD_VIDEOS

    fields = Settings.model_fields
    questions = load_prompt_sets(("tagging_2026", "moderation_2026")).prompts
    assert _UNITS["shard"] == SHARD_VIDEOS
    assert _UNITS["chunk"] == fields["chunk_segments"].default
    assert _UNITS["page"] == fields["page_size"].default
    assert _UNITS["questions"] == sum(not prompt.policy.when for prompt in questions)
    assert str(SamplingPlan.parse(f"uniform:{_UNITS['frames']:g}")) == str(SamplingPlan.parse(fields["plan"].default))
    assert f"at most {fields['shards_at_once'].default} shards" in _TEXT
