"""The Prefect servers that Nightreel starts answer nobody without the secret: no neighbour and no page of the web.

Whoever may register a deployment runs commands as the operator, so every route counts.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import httpx
import psutil
import pytest
from fixtures.services import TinyServer
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from nightreel.errors import TransientError
from nightreel.services import prefect_api, status
from nightreel.services.prefect_server import LOGIN_PATH, PrefectApi, PrefectServer
from nightreel.services.process import SharedServer
from nightreel.services.state import write_state
from nightreel.settings import load_settings

OPEN = {("GET", "/health"), ("GET", "/ready")}
"""Whether the server runs; nothing else."""
NEIGHBOUR = 12_345
DEPLOYMENT = {
    "name": "mallory",
    "flow_id": "00000000-0000-0000-0000-000000000000",
    "pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": "id > /tmp/nightreel-escaped"}}],
}


@pytest.fixture
def api(prefect_program, prefect_api_url) -> PrefectApi:
    state = SharedServer(prefect_program).state()
    return prefect_program.api(state.port)


@pytest.fixture
def stranger(api) -> Iterator[httpx.Client]:
    """A client without the secret."""
    with httpx.Client(base_url=api.url.removesuffix("/api"), trust_env=False, timeout=30) as client:
        yield client


def login(api: PrefectApi) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(api.auth_string.encode()).decode()}"}


@contextmanager
def as_neighbour() -> Iterator[None]:
    """Act as another user of this machine; skips if this process may not become one."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    os.setegid(NEIGHBOUR)
    os.seteuid(NEIGHBOUR)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_no_route_answers_without_the_secret(api, stranger):
    described = stranger.get("/api/openapi.json", headers=login(api)).json()["paths"]
    routes = {(method.upper(), path) for path, methods in described.items() for method in methods}
    assert len(routes) > 150
    wrong = {"Authorization": f"Basic {base64.b64encode(b'nightreel:guess').decode()}"}
    answered = {
        (method, path): answer.status_code
        for method, path in routes - OPEN
        for headers in ({}, wrong)
        if (answer := stranger.request(method, f"/api{path}", headers=headers, json={})).status_code != 401
    }
    assert answered == {}


@pytest.mark.parametrize(
    "path",
    [
        "/api//deployments/",
        "/api/health/../deployments/",
        "/api/deployments/%2e%2e/health",
        "/api/metrics",
        "/api/docs",
        "/api/static/prefect-logo-mark-gradient.png",
    ],
)
def test_no_spelling_of_a_path_avoids_the_secret(stranger, path):
    assert stranger.post(path, json=DEPLOYMENT).status_code in (401, 404)
    assert stranger.get(path).status_code in (401, 404)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": ""},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic Og=="},
        {"Authorization": "Bearer nightreel"},
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https"},
        {"Cookie": "prefect-password=nightreel"},
        {"Origin": "http://127.0.0.1"},
    ],
)
def test_a_deployment_is_registered_by_no_made_up_login(stranger, headers):
    assert stranger.post("/api/deployments/", headers=headers, json=DEPLOYMENT).status_code == 401


def test_a_neighbour_reaches_neither_the_server_nor_the_secret(api, stranger, prefect_program):
    with as_neighbour():
        assert stranger.post("/api/deployments/", json=DEPLOYMENT).status_code == 401
        for path in [prefect_program.directory / "auth", prefect_program.directory / "home" / "prefect.db"]:
            with pytest.raises(PermissionError):
                path.read_bytes()


def test_every_file_of_the_server_is_private(api, prefect_program):
    """Prefect copies its pages with the rights that the files of its installation have."""
    home = prefect_program.directory / "home"
    assert (home / "ui").is_dir()
    assert [path for path in home.rglob("*") if path.lstat().st_mode & 0o077 and not path.is_symlink()] == []


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "127.0.0.2", "[::1]", ""],
)
def test_another_host_name_is_refused_with_and_without_the_secret(api, stranger, host):
    for path in ("/", "/api/health", "/api/admin/version", "/ui-settings", LOGIN_PATH):
        assert stranger.get(path, headers={**login(api), "Host": host}).status_code == 400


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:1"])
def test_no_other_origin_may_read_answers_or_send_logins(api, stranger, origin):
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    for answer in (
        stranger.options("/api/deployments/", headers=asked),
        stranger.get("/api/health", headers={"Origin": origin}),
        stranger.get("/api/admin/version", headers={"Origin": origin, **login(api)}),
    ):
        assert "access-control-allow-origin" not in answer.headers


SOCKETS = ["/api/events/in", "/api/events/out", "/api/logs/out", "/api/task_runs/subscriptions/scheduled"]


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize("first", [None, {"type": "auth", "token": "nightreel:guess"}, {"type": "event"}])
def test_no_websocket_answers_without_the_secret(api, path, first):
    url = api.url.replace("http", "ws").removesuffix("/api") + path
    answers = []
    try:
        with connect(url, subprotocols=["prefect"] if first else None, proxy=None) as socket:
            socket.send(json.dumps(first))
            socket.send(json.dumps({"type": "filter", "filter": {}}))
            while True:
                answers.append(socket.recv(timeout=20))
    except (ConnectionClosed, InvalidStatus):
        pass
    assert answers == []


def test_the_secret_is_on_no_command_line_in_no_log_and_in_no_output(api, prefect_program, monkeypatch):
    secret = api.auth_string.partition(":")[2]
    for process in psutil.process_iter():
        try:
            assert secret not in " ".join(process.cmdline())
        except psutil.Error:
            continue
    assert secret not in (prefect_program.directory / "server.log").read_text()
    assert secret not in repr(api)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", api.auth_string)
    settings = load_settings(prefect_api_url=api.url)
    assert secret not in repr(settings)
    assert secret not in json.dumps(settings.public())
    assert settings.public()["prefect_api_auth_string"] == "**********"
    assert secret not in repr(status(settings))
    assert prefect_api(settings) == api


def test_the_login_page_is_private_and_logs_in_only_whoever_has_the_secret(api, stranger, prefect_program):
    page = prefect_program.write_login_page(SharedServer(prefect_program).state().port)
    assert page.stat().st_mode & 0o777 == 0o600
    assert f'value="{api.auth_string}"' in page.read_text()
    for password in ("", "nightreel:guess", "x" * 100_000, "\u00e9"):
        answer = stranger.post(LOGIN_PATH, data={"password": password})
        assert answer.status_code == 403
        assert "localStorage" not in answer.text
    answer = stranger.post(LOGIN_PATH, data={"password": api.auth_string})
    assert answer.status_code == 200
    assert base64.b64encode(api.auth_string.encode()).decode() in answer.text
    assert answer.headers["cache-control"] == "no-store"


def test_ui_gives_the_browser_a_path_and_shows_the_secret_only_when_asked(api, prefect_program, tmp_path):
    """The command opens the browser of BROWSER, which here writes down its command line."""
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\necho "$@" > {seen}\n')
    browser.chmod(0o700)
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    (work_dir / "prefect").symlink_to(prefect_program.directory)
    state = SharedServer(prefect_program).state()
    environment = {**os.environ, "BROWSER": str(browser), "NIGHTREEL_WORK_DIR": str(work_dir), "PREFECT_API_URL": ""}
    environment.pop("PREFECT_API_AUTH_STRING", None)
    write_state(prefect_program.directory / "state.json", replace(state, kept=True))
    try:
        command = [sys.executable, "-m", "nightreel.cli", "ui"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        shown = subprocess.run([*command, "--password"], env=environment, capture_output=True, text=True, check=True)
    finally:
        write_state(prefect_program.directory / "state.json", state)
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 10
    while not seen.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert seen.read_text().strip() == (prefect_program.directory / "login.html").as_uri()
    assert api.auth_string not in done.stdout + done.stderr
    assert shown.stdout.strip() == api.auth_string


def test_a_server_of_an_older_version_is_replaced_if_nothing_uses_it_and_refused_otherwise(tmp_path):
    old = SharedServer(TinyServer(tmp_path, ("old",)))
    old.join()
    old.wait_ready()
    old.keep()
    before = old.process().pid
    new = SharedServer(TinyServer(tmp_path))
    user = subprocess.Popen([sys.executable, "-c", _USER, tmp_path / "users"], stdout=subprocess.PIPE, text=True)
    with user:
        assert user.stdout.readline() == "uses\n"
        with pytest.raises(TransientError, match=rf"it is old. Process {user.pid} uses it: .*nightreel down --force"):
            new.join()
        new.leave()
        user.kill()
    new = SharedServer(TinyServer(tmp_path))
    new.join()
    new.wait_ready()
    try:
        assert new.process().pid != before
        assert new.state().kept, "`up` still keeps it"
    finally:
        new.stop(force=True)


_USER = """
import fcntl, os, sys, time
file = open(f"{sys.argv[1]}/{os.getpid()}.0", "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("uses", flush=True)
time.sleep(60)
"""


def test_a_server_that_prefect_itself_started_is_outdated(tmp_path):
    program = PrefectServer(tmp_path)
    program.prepare()
    assert program.why_outdated(program.launch(20_000).argv) is None
    assert program.why_outdated(("python", "-m", "prefect", "server", "start")) is not None
