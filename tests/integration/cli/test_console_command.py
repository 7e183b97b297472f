"""`nightreel console`: it starts, signs a person of the demo in by a link, and ends cleanly."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fixtures.work_signed_in import Client
from sqlalchemy import make_url, text
from typer.testing import CliRunner

from nightreel import services
from nightreel.cli.app import app
from nightreel.console.server import DEMO_LINK, DEMO_USER
from nightreel.database.users import add_user
from nightreel.domain.users import Role
from nightreel.errors import SettingsError
from nightreel.services.postgres import Postgres
from nightreel.services.prefect_server import PrefectServer
from nightreel.services.process import SharedServer
from nightreel.settings import Settings
from nightreel.stages.database import open_database

ROOT = Path(__file__).parents[3]


@contextmanager
def serving(directory: Path, *command: str, **environment: str) -> Iterator[tuple[list[str], subprocess.Popen]]:
    """The lines that the console prints at its start, and its process, which ends without an error.

    Args:
        command: of `nightreel`; default: `console`.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "nightreel.cli", *(command or ("console",))],
        env={**os.environ, "PYTHONPATH": str(ROOT), "NIGHTREEL_CONSOLE_PORT": "0", **environment},
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while not lines[-1].startswith("console at http://127.0.0.1:"):
            assert command, lines[-1] + process.stderr.read()
            assert lines[-1], process.stderr.read()
            lines = [process.stdout.readline()]
        if (directory / ".nightreel" / DEMO_LINK).exists():
            lines.append(process.stdout.readline())
        yield lines, process
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
        assert (process.returncode, out.strip()) == (0, "stopped"), errors
        assert "Traceback" not in errors
    finally:
        process.kill()
        process.wait()


def get(url: str) -> httpx.Response:
    """The reply, once the server takes requests."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return httpx.get(url)
        except httpx.TransportError:
            assert time.monotonic() < deadline


def test_the_console_starts_and_ends_cleanly(postgres_server, database_url, tmp_path):
    url = postgres_server.console_url.set(database=make_url(database_url).database, drivername="postgresql")
    with serving(tmp_path, NIGHTREEL_DATABASE_CONSOLE_URL=url.render_as_string(hide_password=False)) as (lines, _):
        address = lines[0].removeprefix("console at ").strip()
        reply = get(f"{address}/sign-in")
        assert reply.status_code == 200
        assert "server" not in reply.headers


def test_up_starts_the_services_and_serves_the_console(tmp_path, monkeypatch):
    for name in ("NIGHTREEL_DATABASE_URL", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    directory = tmp_path / ".nightreel"
    servers = [SharedServer(PrefectServer(directory / "prefect")), SharedServer(Postgres(directory / "postgres"))]
    try:
        with serving(tmp_path, "up", "--console") as (lines, _):
            assert get(f"{lines[0].removeprefix('console at ').strip()}/sign-in").status_code == 200
        settings = Settings(_env_file=None, work_dir=directory)
        assert {one.name: one.state for one in services.status(settings)} == {
            "postgres": "running",
            "prefect": "running",
        }, "they stay when the console ends"
    finally:
        for server in servers:
            server.stop(force=True)


def test_up_starts_nothing_for_a_console_that_may_not_listen_there(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTREEL_CONSOLE_HOST", "0.0.0.0")  # noqa: S104
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(tmp_path / "work"))
    done = CliRunner().invoke(app, ["up", "--console"])
    assert isinstance(done.exception, SettingsError)
    assert not (tmp_path / "work" / "postgres").exists()


def test_it_refuses_an_address_that_others_reach_unencrypted():
    done = CliRunner().invoke(app, ["console", "--host", "0.0.0.0"])  # noqa: S104
    assert isinstance(done.exception, SettingsError)
    assert "--behind-proxy" in str(done.exception)


def test_a_configured_database_needs_the_url_of_the_console(monkeypatch):
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    done = CliRunner().invoke(app, ["console"])
    assert isinstance(done.exception, SettingsError)
    assert "NIGHTREEL_DATABASE_CONSOLE_URL" in str(done.exception)


@pytest.fixture
def demo(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """A directory whose embedded database has the user of the demo."""
    monkeypatch.delenv("NIGHTREEL_DATABASE_URL", raising=False)
    directory = tmp_path / ".nightreel"
    with open_database(Settings(_env_file=None, work_dir=directory)) as database, database.begin() as connection:
        add_user(connection, DEMO_USER, role=Role.LEAD)
        assert connection.execute(text("SELECT count(*) FROM nightreel.users")).scalar_one() == 1
    (directory / DEMO_LINK).parent.mkdir()
    (directory / DEMO_LINK).touch(mode=0o600)
    yield tmp_path
    SharedServer(Postgres(directory / "postgres")).stop(force=True)


def test_a_link_signs_the_person_of_the_demo_in_once(demo: Path):
    with serving(demo) as (lines, _):
        link = re.search(r"http://\S+secret=\S+", lines[1])
        assert link, lines
        file = demo / ".nightreel" / DEMO_LINK
        assert file.read_text().strip() == link[0]
        assert file.stat().st_mode & 0o077 == 0
        get(link[0])
        address, _, path = link[0].partition("/sign-in")
        secret = path.partition("secret=")[2]
        with Client(base_url=address) as client, Client(base_url=address) as second:
            page = f"/sign-in{path}"
            assert client.submit("/sign-in/link", page=page, secret="another").status_code == 401
            assert client.submit("/sign-in/link", page=page, secret=secret).headers["Location"] == "/"
            assert "demo" in client.get("/account").text
            assert second.submit("/sign-in/link", page=page, secret=secret).status_code == 401
    with serving(demo) as (lines, _):
        assert link[0] not in lines[1], "each start makes a new one"
        get(f"{lines[0].removeprefix('console at ').strip()}/sign-in")
