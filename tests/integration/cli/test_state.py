"""What commands say about the state of a host: runs, services, the database of this directory, units."""

from __future__ import annotations

import json
import logging
import re
from contextlib import closing

import pytest
from fixtures.work import stored
from rich.console import Console
from sqlalchemy import text
from typer.testing import CliRunner

from nightreel.cli import console
from nightreel.cli.app import app
from nightreel.database.connection import Database
from nightreel.errors import SettingsError
from nightreel.services import open_services, status
from nightreel.services.endpoints import ServiceStatus
from nightreel.settings import Settings, variables_of
from nightreel.stages.database import open_database


def invoke(*arguments: str):
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def configured(database_url, tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", database_url)
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.chdir(tmp_path)


def test_runs_are_listed_with_state_counts_and_duration(configured, open_work):
    assert "no runs yet" in invoke("runs").stdout
    for _ in range(3):
        open_work()
    done = {"videos": {"done": 9, "reused": 2, "failed": 1}, "answers": {"answered": 33, "unknown": 3}, "headline": "x"}
    work = open_work()
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.runs SET started_at = now() - interval '20 s' WHERE id = 4"))
    work.run.finish("completed", counts=done, timings={"decode": 12.34})
    header, newest, *_ = invoke("runs").stdout.splitlines()
    row = dict(zip(header.split("\t"), newest.split("\t"), strict=True))
    assert (row["run"], row["state"], row["done"], row["failed"], row["answers"]) == ("4", "completed", "11", "1", "36")
    assert (row["time"], row["source"]) == ("20 s", "s3://bucket/")
    assert len(invoke("runs", "--limit", "2").stdout.splitlines()) == 3
    assert json.loads(invoke("runs", "4", "--json").stdout)[0]["counts"] == done
    one = invoke("runs", "4").stdout
    assert "videos done\t11" in one
    assert "time in decode\t12 s" in one
    refused = invoke("runs", "77").exception
    assert isinstance(refused, SettingsError)
    assert "the newest is 4" in str(refused)


def test_names_stay_whole_on_a_terminal_of_80_columns(configured, work, monkeypatch):
    name = "camera-17-2026-11-26T00-00-00-front-door-entrance-0001.mp4"
    work.discover(stored(name))
    with work.database.begin() as connection:
        detail = "'the index (moov) is cut off: it should end at byte 8941'"
        connection.execute(
            text(f"UPDATE nightreel.analyses SET status = 'failed', reason = 'no_index', detail = {detail}")
        )
    monkeypatch.setattr(console, "out", Console(force_terminal=True, width=80, color_system=None))
    said = invoke("failures").stdout
    assert name in said
    assert max(map(len, said.splitlines())) <= 80


def test_settings_are_shown_with_their_place_and_without_secrets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(
        "NIGHTREEL_DATABASE_URL=postgresql://u:secret-4711@h/x\nNIGHTREEL_MODEL=openai:http://u:secret-4711@h/v1#m\n"
    )
    monkeypatch.delenv("NIGHTREEL_DATABASE_URL", raising=False)
    monkeypatch.setenv("NIGHTREEL_REMOTE_API_KEY", "secret-4711")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "ann:secret-4711")
    monkeypatch.setenv("NIGHTREEL_MAX_BYTES", str(2_831_155))
    for form in ((), ("--json",), ("--changed",)):
        said = invoke("settings", *form).stdout
        assert "4711" not in said
        assert {f"NIGHTREEL_{name.upper()}" for name in ("database_url", "remote_api_key")} <= set(
            re.findall(r"NIGHTREEL_\w+", said)
        )
    lines = dict(line.split("\t", 1) for line in invoke("settings").stdout.splitlines())
    assert set(lines) >= {variables_of(name)[0] for name in Settings.model_fields}
    assert lines["NIGHTREEL_MAX_BYTES"] == "2831155 (2.7 MiB)\tenvironment"
    assert lines["NIGHTREEL_MODEL"] == "openai:http://***@h/v1#m\t.env"
    assert lines["NIGHTREEL_MAX_DURATION_S"] == "43200 (12 h)\tdefault"
    assert "did you mean 'NIGHTREEL_MODEL'" in str(invoke("settings", "modle").exception)


def test_prompts_are_shown_with_their_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text('name: mine\nprompts:\n  - {name: blue, kind: yes_no, text: "Is it blue?"}\n')
    (tmp_path / ".env").write_text("NIGHTREEL_PROMPTS=./mine.yaml,tagging\n")
    monkeypatch.delenv("NIGHTREEL_PROMPTS", raising=False)
    said = invoke("prompts").stdout
    assert "NIGHTREEL_PROMPTS in .env" in said
    assert "mine: mine.yaml" in said
    assert "blue\tyes_no\tIs it blue?" in said
    assert "nightreel/prompts/tagging.yaml (shipped)" in said
    assert "moderation" in said, "the sets that are not in use"
    assert [one["set"] for one in json.loads(invoke("prompts", "demo", "--json").stdout)["sets"]] == ["demo"]
    assert "did you mean 'tagging'?" in str(invoke("prompts", "taging").exception)


def test_prompts_say_what_a_name_means_in_an_upgraded_database(configured, owner_url):
    with closing(Database(owner_url)) as database, database.begin() as connection:
        connection.execute(text("INSERT INTO nightreel.kept_prompt_sets VALUES ('moderation', 'moderation_2026')"))
    said = invoke("prompts", "moderation,tagging").stdout
    assert "moderation means moderation_2026 in this database: `nightreel policy adopt moderation`" in said
    assert "\nmoderation_2026: " in said, "the set that a run would ask"
    assert "\ntagging: " in said
    assert "not known" not in said
    shown = json.loads(invoke("prompts", "moderation", "--json").stdout)
    assert [one["set"] for one in shown["sets"]] == ["moderation_2026"]
    assert shown["kept_meanings"] == {"moderation": "moderation_2026"}
    assert not {"moderation", "moderation_2026"} & set(shown["other_sets"])
    invoke("policy", "adopt", "moderation")
    shown = json.loads(invoke("prompts", "moderation", "--json").stdout)
    assert [one["set"] for one in shown["sets"]] == ["moderation"]
    assert shown["kept_meanings"] == {}


def test_prompts_need_no_database_and_start_none(tmp_path, monkeypatch, free_port):
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.delenv("NIGHTREEL_DATABASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    assert "not known" not in invoke("prompts", "moderation").stdout, "a new database has no earlier meanings"
    assert not (tmp_path / "work" / "postgres").exists()
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", f"postgresql://u:secret-4711@127.0.0.1:{free_port}/x")
    said = invoke("prompts", "moderation")
    assert said.exit_code == 0
    assert "it is not known what moderation means in the database: " in said.stdout
    assert "\nmoderation: " in said.stdout
    assert "4711" not in said.output
    assert json.loads(invoke("prompts", "moderation", "--json").stdout)["kept_meanings"] is None
    assert "not known" not in invoke("prompts", "demo").stdout, "no version gave this name another meaning"


def test_a_database_of_an_earlier_version_is_not_upgraded_to_ask_what_prompts_mean(empty_0011, monkeypatch):
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", empty_0011.engine.url.render_as_string(hide_password=False))
    assert "run `nightreel db upgrade`" in invoke("prompts", "moderation").stdout


def test_a_stopped_embedded_database_is_not_started_to_ask_what_prompts_mean(tmp_path, monkeypatch):
    work_dir = tmp_path / "work"
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(work_dir))
    monkeypatch.delenv("NIGHTREEL_DATABASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    settings = Settings(work_dir=work_dir, database_url=None, prefect_api_url=None, _env_file=None)
    with open_database(settings) as database:
        with database.begin() as connection:
            connection.execute(text("INSERT INTO nightreel.kept_prompt_sets VALUES ('tagging', 'tagging_2026')"))
        assert "tagging means tagging_2026 in this database" in invoke("prompts", "tagging").stdout
    assert "`nightreel up` starts it" in invoke("prompts", "tagging").stdout
    assert status(settings)[0].state == "stopped"


def test_the_sets_in_use_are_those_that_the_demo_model_is_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTREEL_MODEL", "demo")
    monkeypatch.delenv("NIGHTREEL_PROMPTS", raising=False)
    assert [one["set"] for one in json.loads(invoke("prompts", "--json").stdout)["sets"]] == ["demo", "demo_moderation"]


def test_a_new_database_is_announced_once_and_names_the_one_above(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("nightreel"), "propagate", True)
    above, below = tmp_path / ".nightreel", tmp_path / "videos" / ".nightreel"
    for work_dir, said in ((above, "new, empty database"), (above, ""), (below, f"NIGHTREEL_WORK_DIR={above}")):
        caplog.clear()
        settings = Settings(work_dir=work_dir, database_url=None, prefect_api_url=None, _env_file=None)
        with open_services(settings, prefect=False):
            assert bool(caplog.messages) == bool(said)
            assert all(said in message and str(work_dir) in message for message in caplog.messages)


def test_status_shows_the_address_of_the_ui(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setattr("nightreel.services.status", lambda _: [_service("running", "http://127.0.0.1:4200/api")])
    assert "Prefect's UI: http://127.0.0.1:4200\n" in invoke("status").stdout
    assert json.loads(invoke("status", "--json").stdout)[0]["ui_url"] == "http://127.0.0.1:4200"


def _service(state, url: str) -> ServiceStatus:
    return ServiceStatus(name="prefect", state=state, url=url, ui_url=url.removesuffix("/api"), uptime_s=3725)


@pytest.mark.parametrize("path", ["/api", "/api/"])
def test_the_ui_of_a_configured_server_is_where_its_api_is(answering_url, path):
    server = answering_url.removesuffix("/api")
    settings = Settings(prefect_api_url=f"{server}{path}", _env_file=None)
    assert status(settings)[1].ui_url == server
