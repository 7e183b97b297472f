"""A policy in a prompt file changes: the next run judges what is stored, and asks only what is newly due."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from nightreel.cli.app import app

FILE = """
name: shapes
prompts:
  - {{name: red, kind: yes_no, text: "Is it red?", threshold: {red}, flag: "yes", severity: 2}}
  - {{name: strict, kind: yes_no, text: "Is it red?", threshold: 1.0}}
  - {{name: why, kind: text, text: "Why?", when: {{red: "yes"}}, max_new_tokens: 4}}
"""


@pytest.fixture
def policy(make_pipeline, clips, tmp_path):
    """`policy(threshold)`: the prompt file with this threshold; the pipeline is its attribute."""
    path = tmp_path / "shapes.yaml"

    def write(red: float) -> str:
        path.write_text(FILE.format(red=red))
        return str(path)

    write.pipeline = make_pipeline(clips, NIGHTREEL_PROMPTS=write(1.0))
    return write


def said(pipeline, prompt: str) -> set[str]:
    return {row.answer for row in pipeline.rows(f"SELECT answer FROM reporting.answers WHERE prompt = '{prompt}'")}


def invoke(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_changed_threshold_is_judged_and_only_new_follow_ups_are_asked(policy):
    pipeline = policy.pipeline
    first = pipeline.analyze()
    assert first.answers.total() == 2 * 3, "two verdicts of each clip"
    assert pipeline.value("SELECT count(*) FROM nightreel.answers") == 3, "and one answer: the question is the same"
    assert said(pipeline, "red") == said(pipeline, "strict") == {"no"}

    policy(0.0)
    second = pipeline.analyze()
    assert said(pipeline, "red") == {"yes"}
    assert said(pipeline, "strict") == {"no"}
    assert second.answers.total() == 3, "the follow-ups alone"
    assert "decoded_segments" not in second.work
    assert "fetched" not in " ".join(second.work)

    policy(1.0)
    third = pipeline.analyze()
    assert (third.work, third.answers) == ({}, {})
    assert said(pipeline, "red") == {"no"}
    assert {row.due for row in pipeline.rows("SELECT due FROM reporting.answers WHERE prompt = 'why'")} == {False}
    assert pipeline.value("SELECT count(*) FROM reporting.policies WHERE prompt = 'red'") == 3


def test_a_policy_is_previewed_and_applied_without_a_run(policy):
    policy.pipeline.analyze()
    file = policy(0.0)
    (red,) = [one for one in json.loads(invoke("policy", "preview", file, "--json")) if one["prompt"] == "red"]
    change = {"before": "no", "after": "yes, flagged 2", "count": 3}
    assert (red["segments"], red["videos"], len(red["examples"])) == ([change], [change], 3)
    assert said(policy.pipeline, "red") == {"no"}, "a preview changes nothing"
    assert "band" in invoke("policy", "diff", file)
    told = invoke("policy", "apply", file, "--by", "lead")
    assert "no model asked" in told
    assert "3 videos pending" in told
    assert said(policy.pipeline, "red") == {"yes"}
    assert "lead (applied)" in invoke("policy", "history", "shapes", "red")
    newest, oldest = (one["id"] for one in json.loads(invoke("policy", "history", "shapes", "red", "--json")))
    compared = json.loads(invoke("policy", "compare", str(oldest), str(newest), "--json"))
    assert {(one["flag"], one["before"], one["after"]) for one in compared} == {("flag.raised", "no", "yes, flagged 2")}
    assert "3 videos, 3 raised" in invoke("policy", "compare", str(oldest))
    assert "no policy differs" in invoke("policy", "preview", file)
    rows = json.loads(invoke("answers", "--prompt", "red", "--json"))
    assert {row["severity"] for row in rows} == {2}
    assert "shapes of file://" in invoke("recipes")
