"""The calls of docs/analysts.md and docs/api.md, run as a shell runs them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fixtures.work_rest import Rest

_DOCS = Path(__file__).parents[3] / "docs"
_CALLS = {
    heading: re.findall(r"```sh\n(curl .*?)```", rest, re.DOTALL)
    for heading, rest in re.findall(
        r"(?m)^## (.*?\?)\n(.*?)(?=^## |\Z)", (_DOCS / "analysts.md").read_text(encoding="utf-8"), re.DOTALL
    )
}
_ROWS = {
    "What was flagged last night, under a prefix?": 2,
    "At which second?": 1,
    "Which frames did the model see, and how sure was it?": 3,
    "What could not be judged?": 1,
    "What changed between two models?": 1,
    "How many of each tag?": 4,
    "Which captions have a word?": 1,
    "What was never asked of which videos?": 5,
    "Why was it flagged?": 5,
    "What did people say of it?": 0,
}

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


def run(rest: Rest, command: str, **environment: str) -> dict:
    done = subprocess.run(
        ["sh", "-c", command],
        env={"PATH": "/usr/bin:/bin", "NIGHTREEL_API": rest.url, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_every_question_of_the_page_has_its_call(rest: Rest):
    assert _CALLS.keys() == _ROWS.keys()
    token = rest.token("read")
    found = {question: run(rest, call, TOKEN=token) for question, (call,) in _CALLS.items()}
    assert {question: len(page.get("rows", page.get("hits"))) for question, page in found.items()} == _ROWS
    assert all(page["next"] is None for page in found.values())


def test_the_call_of_the_page_about_the_service_works(rest: Rest):
    page = (_DOCS / "api.md").read_text(encoding="utf-8")
    (call,) = re.findall(r"```sh\n(curl -sG .*?)```", page, re.DOTALL)
    rows = run(rest, call, TOKEN=rest.token("read"))["rows"]
    assert {row["prompt"] for row in rows} == {"violence"}
