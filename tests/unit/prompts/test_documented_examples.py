"""The worked examples of docs/prompts.md: each table says what the judge says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nightreel.domain import Answer, PromptKind, VerdictState, judge
from nightreel.prompts.loading import load_prompt_sets
from nightreel.prompts.schema import PromptEntry, SetEntry

_PAGE = (Path(__file__).parents[3] / "docs" / "prompts.md").read_text()
_EXAMPLES = re.findall(r"<!-- example: (\w+) -->\n```yaml\n(.*?)```\n\n((?:\|[^\n]*\n)+)", _PAGE, re.DOTALL)


@pytest.mark.parametrize(("name", "file", "table"), _EXAMPLES, ids=[name for name, *_ in _EXAMPLES])
def test_a_worked_example_says_what_the_judge_says(tmp_path, name, file, table):
    path = tmp_path / "example.yaml"
    path.write_text(file)
    (prompt,) = load_prompt_sets([str(path)]).prompts
    header, _, *rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()]
    assert len(rows) >= 4
    for row in rows:
        said = dict(zip(header, row, strict=True))
        p = {column.removeprefix("p of ").strip('"'): float(cell) for column, cell in said.items() if "p of" in column}
        scores = p if prompt.question.kind is PromptKind.TAGS else {"yes": p["yes"], "no": 1 - p["yes"]}
        verdict = judge(prompt.question, Answer(question_hash="q", scores=scores), prompt.policy)
        words = verdict.text if verdict.state is VerdictState.ANSWERED else "unknown"
        unsure = ", ".join(tag for tag, label in verdict.labels.items() if label == "unknown")
        shown = {
            "verdict": words or "none",
            "flagged": "yes" if verdict.flagged else "no",
            "review": "yes" if verdict.needs_review else "no",
            "unsure": unsure,
            "severity": str(verdict.severity or ""),
        }
        assert {key: said[key] for key in said if key in shown} == {key: shown[key] for key in said if key in shown}


def test_the_page_has_examples_and_names_every_key():
    assert len(_EXAMPLES) == 2
    for key in (*PromptEntry.model_fields, *SetEntry.model_fields, "prompts"):
        assert f"`{key}`" in _PAGE, key
