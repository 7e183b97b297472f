"""`nightreel audit`, as people call it, and the same over HTTP."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from fixtures.work_reviewed import RESTRICTED, Desk
from typer.testing import CliRunner

from nightreel.cli.app import app
from nightreel.domain.queues import Queue, Queues
from nightreel.errors import SettingsError
from nightreel.review.refusals import NotFoundError

ROOT = Path(__file__).parents[3]
SET = """name: test
prompts:
  - {name: caption, kind: caption, text: "Describe."}
  - {name: violence, kind: yes_no, text: "Violence?", flag: "yes", severity: 2, min_mass: 0.01}
"""


@pytest.fixture(autouse=True)
def configured(database_url, monkeypatch, tmp_path):
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", database_url)
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(tmp_path))
    (tmp_path / "test.yaml").write_text(SET)
    monkeypatch.setenv("NIGHTREEL_PROMPTS", str(tmp_path / "test.yaml"))
    monkeypatch.chdir(tmp_path)


def audit(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["audit", *arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def audited(desk: Desk) -> Desk:
    """An audit of violence that is judged: flagged ones are mostly right, and one was missed."""
    for number in range(4):
        desk.analyse(f"flagged-{number}", violence=0.6 + number / 10)
    for number in range(6):
        desk.analyse(f"clean-{number}", violence=0.01 + number / 100)
    desk.analyse("missed", violence=0.45)
    audit("draw", "--prompt", "violence", "--by", "lea")
    while case := desk.take("ann"):
        name = case.videos[0][1].rsplit("/", 1)[1]
        desk.decide("ann", case, "reject" if name.startswith("clean") or name == "flagged-0.mp4" else "confirm")
    return desk


def test_an_audit_is_drawn_and_printed(desk: Desk):
    desk.analyse("clean", violence=0.01)
    assert "none: `nightreel audit draw`" in audit()
    assert audit("draw", "--prompt", "violence") == "1 audit, 1 item drawn\n"
    (found,) = json.loads(audit("--json"))
    assert (found["prompt"], found["drawn"], found["misses"]) == ("violence", 1, None)
    with pytest.raises(SettingsError, match="nothing to audit"):
        audit("draw", "--prompt", "smoke")


def test_the_estimate_has_intervals(audited: Desk):
    header, row = audit().splitlines()
    said = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    assert said["label"] == "test/violence"
    assert (said["items"], said["judged"], said["missed"]) == ("11", "11", "1 (1-1)")
    assert said["recall"] == "75 % (75-75)"
    assert said["policy"] == "in force"
    (found,) = json.loads(audit("--json"))
    assert found["misses"]["recall"]["value"] == pytest.approx(0.75)


def test_calibration_is_that_of_the_audit(audited: Desk):
    lines = audit("calibration", "violence").splitlines()
    assert lines[0] == "p\tjudged\tmean p\tconfirmed"
    assert lines[1].startswith("0.0-0.1\t6\t0.035\t0 % (0-")
    assert lines[-1].startswith("expected calibration error: 0.")
    with pytest.raises(NotFoundError, match="'weapons' has no audit"):
        audit("calibration", "weapons")


def test_a_threshold_is_a_change_that_the_preview_takes(audited: Desk, tmp_path):
    said = audit("thresholds", "violence", "--precision", "1", "--output", "new.yaml")
    assert said.startswith("from p = 0.7 on: precision 100 % (44-100), recall 75 % (30-95), 27 % of all flagged\n")
    assert re.findall(r"(?m)^[+-] .*", said) == [
        f"- {SET.splitlines()[3].lstrip()}".replace("- - ", "-  - "),
        f"+ {SET.splitlines()[3].lstrip()}".replace("+ - ", "+  - ").replace("0.01}", "0.01, threshold: 0.7}"),
    ]
    preview = CliRunner().invoke(app, ["policy", "preview", "new.yaml", "--json"])
    assert preview.exit_code == 0, preview.output
    changed = {one["prompt"]: one for one in json.loads(preview.stdout)}["violence"]
    assert changed["differences"]["band"] == [[0.5, 0.5], [0.7, 0.7]]
    said = audit("thresholds", "violence", "--recall", "1")
    assert said.startswith("from p = 0.45 on: precision 80 %")
    assert "threshold: 0.45" in said
    with pytest.raises(SettingsError, match="either --precision or --recall"):
        audit("thresholds", "violence")


def test_golden_items_are_managed_and_reviewers_are_measured(desk: Desk):
    desk.bring(Queues((RESTRICTED, Queue(name="general", golden_share=1.0))))
    desk.analyse("known", violence=0.9)
    desk.analyse("waiting", violence=0.9)
    with pytest.raises(SettingsError, match="no video has 'unknown'"):
        audit("golden", "add", "unknown", "--confirm", "violence")
    assert audit("golden", "add", "known.mp4", "--confirm", "violence").startswith("golden item 1")
    desk.judge("ann", "reject")
    (item,) = json.loads(audit("golden", "list", "--json"))
    assert (item["labels"], item["given"]) == ({"violence": True}, 1)
    assert "known.mp4\tviolence\t\t1" in audit("golden", "list")
    (found,) = json.loads(audit("reviewers", "--json"))
    assert (found["reviewer"], found["judged"], found["correct"]) == (desk["ann"].pseudonym, 1, 0)
    assert "0 % (0-79)" in audit("reviewers")
    audit("golden", "remove", "1")
    assert json.loads(audit("golden", "list", "--json")) == []


def test_agreement_is_printed(desk: Desk):
    assert audit("agreement") == "prompt\tjudged twice\tagreed\talpha\n"


def test_the_commands_of_the_page_work_in_order(audited: Desk):
    commands = re.findall(
        r"(?m)^nightreel (audit.*?)(?:  +#.*)?$", (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    )
    assert len(commands) == 10
    for command in commands:
        if "shadow" not in command:  # it needs two recipes: tests/integration/review/test_shadows.py has them
            audit(*shlex.split(command)[1:])
