"""The worked examples of docs/prompts.md: each table says what the judge says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fixtures import judged
from pydantic import BaseModel

from nightreel.domain import (
    Answer,
    Prompt,
    PromptKind,
    SegmentVerdict,
    Verdict,
    VerdictState,
    Window,
    combined,
    judge,
    roll_up,
)
from nightreel.errors import SettingsError
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
        verdict = _verdict(prompt, said)
        words = verdict.text if verdict.state is VerdictState.ANSWERED else "unknown"
        unsure = ", ".join(tag for tag, label in verdict.labels.items() if label == "unknown")
        shown = {
            "verdict": words or "none",
            "flagged": "yes" if verdict.flagged else "no",
            "review": "yes" if verdict.needs_review else "no",
            "unsure": unsure,
            "severity": str(verdict.severity or ""),
            "from second": "" if verdict.start_s is None else f"{verdict.start_s:g}",
            "to second": "" if verdict.end_s is None else f"{verdict.end_s:g}",
        }
        assert {key: said[key] for key in said if key in shown} == {key: shown[key] for key in said if key in shown}


def _verdict(prompt: Prompt, said: dict[str, str]) -> Verdict:
    if "segments of 10 s" in said:
        return _rolled(prompt, said)
    return _looked_again(prompt, said) if "p of windows of 5 s" in said else _judged(prompt, said)


def _looked_again(prompt: Prompt, said: dict[str, str]) -> Verdict:
    """The verdict of the first look, or of the windows, which the policy must want."""
    question, look = prompt.question, prompt.policy.look_again
    assert look is not None
    assert look.window_s == 5
    first = judge(question, judged.yes_no(question, float(said['first p of "yes"'])), prompt.policy)
    windows = [
        Window(
            start_s=5.0 * place,
            end_s=5.0 * place + 5,
            feature_key="",
            answer=judged.yes_no(question, float(p), covered_s=5.0, expected_s=5.0),
        )
        for place, p in enumerate(filter(None, said["p of windows of 5 s"].split(", ")))
    ]
    if not windows:
        return first
    assert first.look_again
    return judge(question, combined(question, look, windows, expected_s=5.0 * len(windows)), prompt.policy)


def _judged(prompt: Prompt, said: dict[str, str]) -> Verdict:
    p = {column.removeprefix("p of ").strip('"'): float(cell) for column, cell in said.items() if "p of" in column}
    scores = p if prompt.question.kind is PromptKind.TAGS else {"yes": p["yes"], "no": 1 - p["yes"]}
    return judge(prompt.question, Answer(question_hash="q", scores=scores), prompt.policy)


def _rolled(prompt: Prompt, said: dict[str, str]) -> Verdict:
    words = said["segments of 10 s"].split(", ")
    answers = [Answer(question_hash="q", text=word) for word in words]
    segments = [
        SegmentVerdict(10.0 * index, 10.0 * index + 10, judge(prompt.question, answer, prompt.policy))
        for index, answer in enumerate(answers)
    ]
    seconds = 10.0 * len(segments)
    return roll_up(prompt.question, prompt.policy, segments, missing=0, covered_s=seconds, expected_s=seconds).verdict


_KINDS = {
    "caption": "kind: caption",
    "text": "kind: text",
    "yes_no": "kind: yes_no",
    "tags": "kind: tags, choices: [x, y]",
    "choice": "kind: choice, choices: [x, y]",
    "number": "kind: number",
    "scored number": "kind: number, minimum: 0, maximum: 9",
    "keywords": "kind: keywords",
    "object": "kind: object, schema: SCHEMA",
}
_GROUPS = {
    "all": set(_KINDS),
    "scored": {"yes_no", "tags", "choice", "scored number"},
    "generated": {"caption", "text", "number", "scored number"},
    "number": {"number", "scored number"},
}
_SCHEMA = "{type: object, properties: {a: {type: boolean}}}"
_VALUES = {  # of each key, with what it needs beside it
    "choices": "choices: [x, y]",
    "minimum": "minimum: 0",
    "maximum": "maximum: 9",
    "max_new_tokens": "max_new_tokens: 9",
    "temperature": "temperature: 0.5",
    "top_k": "top_k: 5, temperature: 0.5",
    "top_p": "top_p: 0.5, temperature: 0.5",
    "seed": "seed: 5, temperature: 0.5",
    "repetition_penalty": "repetition_penalty: 1.1",
    "beams": "beams: 2",
    "threshold": "threshold: 0.6",
    "doubt": "doubt: 0.1",
    "no_below": "no_below: 0.2, yes_from: 0.4",
    "yes_from": "no_below: 0.2, yes_from: 0.4",
    "thresholds": "thresholds: {x: 0.3}",
    "min_mass": "min_mass: 0.5",
    "min_margin": "min_margin: 0.1",
    "flag": "flag: FLAG",
    "severity": "severity: 2, flag: FLAG",
    "severities": "severities: {x: 2}, flag: x",
    "lane": "lane: restricted",
    "review": "review: all",
    "roll_up": "roll_up: HOW",
    "coverage": "coverage: 0.5",
    "policy_text": "policy_text: what counts",
    "codes": "codes: {iab: ['1']}",
    "when": "when: {first: 'yes'}",
    "most": "most: 3",
    "schema": "schema: SCHEMA",
    "level": "level: video",
    "over": "over: [first], level: video",
    "notes_bytes": "notes_bytes: 5000, level: video",
    "look_again": "look_again: {from: 0.2, plan: 'fps:2:64', window_s: 5}",
}


def _documented_kinds() -> dict[str, set[str]]:
    """The kinds of each key, as the tables of the page say."""
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \| ([a-z_, ]+) \|[^|\n]*\|[^|\n]*\|$", _PAGE, re.MULTILINE)
    return {
        key: set().union(*(_GROUPS.get(kind, {kind}) for kind in kinds.split(", ")))
        for keys, kinds in rows
        for key in re.findall(r"`(\w+)`", keys)
    }


def test_a_key_is_allowed_for_the_kinds_that_the_page_says(tmp_path):
    documented = {key: kinds for key, kinds in _documented_kinds().items() if key not in ("name", "kind", "text")}
    assert documented.keys() == _VALUES.keys() == _keys(PromptEntry) - {"name", "kind", "text"}
    allowed = {key: {kind for kind in _KINDS if _is_allowed(tmp_path, key, kind)} for key in _VALUES}
    assert allowed == documented


def _keys(entry: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in entry.model_fields.items()}


def _is_allowed(tmp_path: Path, key: str, kind: str) -> bool:
    value = _VALUES[key].replace("FLAG", "yes" if kind == "yes_no" else "x")
    hows = {"choice": "first", "number": "mean", "scored number": "mean"}
    hows |= {"object": "first"}
    given = dict(re.findall(r"(\w+): (\[.*?\]|\{.*?\}|[^,]+)", f"{_KINDS[kind]}, {value}"))
    given["roll_up"] = given.get("roll_up", "").replace("HOW", hows.get(kind, "any"))
    entry = ", ".join(f"{name}: {said}" for name, said in given.items() if said).replace("SCHEMA", _SCHEMA)
    path = tmp_path / "example.yaml"
    path.write_text(
        "name: example\ntaxonomies: {iab: {title: a, version: b, date: c, url: d}}\nprompts:\n"
        f"  - {{name: first, kind: yes_no, text: a}}\n  - {{name: q, text: a, {entry}}}\n"
    )
    try:
        load_prompt_sets([str(path)])
    except SettingsError as error:
        return f"key '{key}': not allowed for kind" not in str(error)
    return True


def test_the_page_has_examples_and_names_every_key():
    assert len(_EXAMPLES) == 4
    for key in (*_keys(PromptEntry), *SetEntry.model_fields, "prompts"):
        assert f"`{key}`" in _PAGE, key
