"""`nightreel review` and `nightreel users`, as people call them."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from fixtures.work_reviewed import Desk
from typer.testing import CliRunner

from nightreel.cli.app import app
from nightreel.database.users import change_user
from nightreel.domain.users import Role
from nightreel.errors import SettingsError

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def configured(database_url, monkeypatch, tmp_path):
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", database_url)
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(tmp_path))


def call(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def review(*arguments: str, me: str = "ann") -> str:
    return call("review", *arguments, "--as", me)


def test_a_person_works_off_a_queue_at_the_terminal(desk: Desk):
    desk.analyse("a", violence=0.9)
    desk.analyse("b", violence=0.8)
    queues = {one["name"]: one["open"] for one in json.loads(review("queues", "--json"))}
    assert queues == {"urgent": 0, "general": 2}
    case = json.loads(review("next", "general", "--json"))
    assert review("next", "general").startswith(f"case {case['case_id']}, version 1, queue general: open, 1")
    number = str(case["case_id"])
    with pytest.raises(SettingsError, match="'gun' is no label of this case"):
        review("decide", number, "--seen", "1", "--confirm", "gun")
    said = review("decide", number, "--seen", "1", "--confirm", "violence", "--note", "\x1b[31m<b>")
    assert said.startswith(f"case {number} is closed: 1 decision")
    batch = re.search(r"undo ([0-9a-f-]{36})", said)[1]
    history = review("history", number)
    assert "\\x1b[31m<b>" in history
    assert "\x1b" not in history
    assert review("undo", batch).startswith("undone: 1 decision in 1 case")
    assert "left" in review("take", number)
    assert "left" in review("extend", number)
    review("assign", number, "--to", "bob")
    other = json.loads(review("next", "general", "--json"))
    review("hold", str(other["case_id"]), "--until", "2099-01-01")
    assert "nothing to decide" in review("next", "general")
    bobs = json.loads(review("next", "general", "--json", me="bob"))
    assert str(bobs["case_id"]) == number
    review("skip", number, me="bob")
    review("take", number, me="lea")
    review("decide", number, "--seen", "1", "--reject", "all", me="lea")
    assert "waits for a lead" in review("appeal", number, "--reason", "a film")
    assert "appealed" in review("show", number)


def test_the_commands_of_the_readme_work_in_order(desk: Desk):
    desk.analyse("a", violence=0.9)
    with desk.work.database.begin() as connection:
        change_user(connection, "ann", role=Role.LEAD)
    commands = re.findall(
        r"(?m)^nightreel (review .*?)(?:  +#.*)?$", (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    )
    assert len(commands) == 15
    for command in commands:
        call(*shlex.split(command))


def test_a_lead_decides_in_bulk_after_a_preview(desk: Desk):
    desk.analyse("a", violence=0.9)
    desk.analyse("b", violence=0.9)
    bulk = ("bulk", "general", "--ruling", "reject", "--category", "violence")
    shown = json.loads(review(*bulk, "--json", me="lea"))
    assert (shown["cases"], shown["labels"]) == (2, {"violence": 2})
    assert "Nothing is decided" in review(*bulk, me="lea")
    done = review(*bulk, "--preview", shown["digest"], me="lea")
    assert done.startswith("reject: 2 labels in 2 cases")


def test_queues_from_a_file_come_into_force(desk: Desk, tmp_path):
    desk.analyse("a", violence=0.9)
    file = tmp_path / "queues.yaml"
    file.write_text("queues: [{name: mine, categories: [violence], people: [bob]}, {name: rest}]")
    assert call("review", "apply", str(file), "--by", "lea") == "in force: mine, rest\n"
    assert call("review", "apply", str(file)) == "in force already: mine, rest\n"
    assert json.loads(review("next", "mine", "--json", me="bob"))["queue"] == "mine"
    with pytest.raises(SettingsError, match="'mine' is no queue that ann works"):
        review("next", "mine")


def test_people_are_managed_at_the_terminal(desk: Desk):
    assert "shown to others as owl" in call("users", "add", "dora", "--role", "reviewer", "--pseudonym", "owl")
    with pytest.raises(SettingsError, match="is taken"):
        call("users", "add", "dora")
    with pytest.raises(SettingsError, match="works no queue"):
        call("tokens", "add", "vera", "--scope", "review")
    assert "role lead" in call("users", "change", "dora", "--role", "lead", "--restricted")
    call("users", "disable", "dora")
    (dora,) = (one for one in json.loads(call("users", "list", "--json")) if one["name"] == "dora")
    assert dora == {"name": "dora", "pseudonym": "owl", "role": "lead", "restricted": "yes", "state": "disabled"}
    with pytest.raises(SettingsError, match="works no queue"):
        call("tokens", "add", "dora", "--scope", "review")
    call("users", "enable", "dora")
    assert call("tokens", "add", "dora", "--scope", "review").strip().split("\n")[-1].startswith("nr_")
    with pytest.raises(SettingsError, match="there is no user"):
        call("review", "queues", "--as", "nobody")
