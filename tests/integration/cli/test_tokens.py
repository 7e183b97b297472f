"""`nightreel tokens` and `nightreel api`, as an operator calls them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import make_url
from typer.testing import CliRunner

from nightreel.cli.app import app
from nightreel.domain.tokens import is_token
from nightreel.errors import SettingsError

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def configured(database_url, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", database_url)


def tokens(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["tokens", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_token_is_shown_once_and_can_be_revoked():
    token = tokens("add", "ann", "--scope", "read", "--scope", "export", "--expires", "12h").strip()
    assert is_token(token)
    (listed,) = json.loads(tokens("list", "--json"))
    assert (listed["user"], listed["scopes"], listed["state"]) == ("ann", "export read", "valid")
    assert token.startswith(listed["token"].removesuffix("…"))
    assert token not in tokens("list")
    assert tokens("revoke", "1").startswith(f"revoked: {listed['token']} of ann")
    tokens("revoke", "1")
    assert json.loads(tokens("list", "--json"))[0]["state"] == "revoked"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "ann", "--expires", "soon"), "expected hours, days or weeks"),
        (("add", "ann", "--expires", "0d"), "expected hours, days or weeks"),
        (("add", "ann", "--expires", "99999d"), "at most ten years"),
        (("add", " "), "expected a name"),
        (("add", "ann", "--scope", "restricted"), "alone allows nothing"),
        (("revoke", "7"), "there is no token 7"),
    ],
)
def test_a_wrong_argument_is_refused(arguments, said):
    with pytest.raises(SettingsError, match=said):
        tokens(*arguments)


def test_the_service_starts_answers_and_ends_cleanly(postgres_server, database_url, tmp_path):
    token = tokens("add", "ann").strip()
    console = postgres_server.console_url.set(database=make_url(database_url).database)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "NIGHTREEL_DATABASE_CONSOLE_URL": console.set(drivername="postgresql").render_as_string(hide_password=False),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "nightreel.cli", "api", "--port", "0"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("REST service at ").strip()
        assert url.startswith("http://127.0.0.1:"), process.stderr.read()
        deadline = time.monotonic() + 20
        while True:
            try:
                reply = httpx.get(f"{url}/videos", headers={"Authorization": f"Bearer {token}"})
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
        assert (reply.status_code, reply.json()["rows"]) == (200, [])
        assert "server" not in reply.headers
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out.strip()) == (0, "stopped"), errors
    assert "Traceback" not in errors
    assert token not in errors


def test_a_configured_database_needs_the_url_of_the_console():
    done = CliRunner().invoke(app, ["api"])
    assert isinstance(done.exception, SettingsError)
    assert "NIGHTREEL_DATABASE_CONSOLE_URL" in str(done.exception)


def test_the_openapi_document_is_printed_without_a_database(monkeypatch):
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    done = CliRunner().invoke(app, ["api", "--openapi"])
    assert done.exit_code == 0
    assert "/api/v1/ask" in json.loads(done.stdout)["paths"]
