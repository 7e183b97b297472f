"""A Prefect server on SQLite as a shared server: command line, settings, readiness.

`endpoints` uses it. It runs Prefect as a program and imports nothing from it. The settings were measured: with
Prefect's defaults, recording a thousand task runs takes a minute, and a restart leaks concurrency slots.

Whoever may register a deployment runs commands as this user. So the server asks every client for a secret, which only
this user can read. It is passed on in files and environments, never on a command line, which all users see.
"""

from __future__ import annotations

import base64
import hashlib
import html
import http.client
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from nightreel.errors import PermanentError
from nightreel.reasons import Reason
from nightreel.services.locking import write_private
from nightreel.services.program import Launch, StopSignals
from nightreel.settings import child_environment

_ANSWER_TIMEOUT_S = 10.0
_SETTLE_TIMEOUT_S = 60.0
_SETTLE_QUIET_S = 2.5  # its recorder writes at least once a second
_SETTLE_POLL_S = 0.25
_KEEP_EVENTS_DAYS = 7
_UNFINISHED = ["SCHEDULED", "PENDING", "RUNNING"]
_APPLICATION = "nightreel.orchestration.prefect_application:create"
_ABOVE_THE_PACKAGE = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
LOGIN_PATH = "/nightreel-login"
"""Where the server takes the secret from the page that `nightreel ui` opens."""

SERVER_SETTINGS = {
    # Offline and quiet.
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_METRICS_ENABLED": "true",
    # Record in batches: five times the task runs a second.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "100",
    # Prefect's own upkeep: events by age (its default), and logs and artifacts whose flow run was deleted. Its upkeep
    # of flow runs would delete those of other people's deployments too: `orchestration.tidying` deletes ours.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,orphans",
    # In memory, leases of GPU memory would be lost with the server, and their slots would stay taken forever.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}
_LOGIN_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Prefect</title>
<form method="post" action="{action}"><input type="hidden" name="password" value="{secret}"></form>
<script>document.forms[0].submit()</script>
"""


@dataclass(frozen=True)
class PrefectApi:
    """How to reach a Prefect server.

    Args:
        url: the value for PREFECT_API_URL.
        auth_string: the value for PREFECT_API_AUTH_STRING; None: the server asks for none, or Prefect's own settings
            have it.
    """

    url: str
    auth_string: str | None = field(default=None, repr=False)


class PrefectServer:
    """A `Program` for `SharedServer`. Prefect writes all its files below `directory`.

    Args:
        keep_days: age at which the server deletes events, if less than Prefect's own 7 days; 0: 7 days.
    """

    name = "prefect"
    start_timeout_s = 180.0  # 8 s on two idle cores, most of it imports
    # On SIGINT it records pending reports and closes its database. A second SIGINT ends its wait for clients.
    stop_signals: StopSignals = ((signal.SIGINT, 45.0), (signal.SIGINT, 10.0))

    def __init__(self, directory: Path, *, keep_days: int = 0) -> None:
        self.directory = directory.resolve()
        self._keep_events_days = min(keep_days or _KEEP_EVENTS_DAYS, _KEEP_EVENTS_DAYS)
        self._home = self.directory / "home"
        self._auth_path = self.directory / "auth"
        self._login_page_path = self.directory / "login.html"

    def url(self, port: int) -> str:
        """The value for PREFECT_API_URL."""
        return f"http://{HOST}:{port}/api"

    def api(self, port: int) -> PrefectApi:
        """The address, with the secret.

        Raises:
            PermanentError("prefect_secret_lost"): the file of the secret is missing.
        """
        return PrefectApi(self.url(port), self._auth_string())

    def write_login_page(self, port: int) -> Path:
        """Write a page that logs a browser in: it sends the secret to the server. Only this user can read it.

        Raises like `api`.
        """
        action, secret = f"http://{HOST}:{port}{LOGIN_PATH}", html.escape(self._auth_string())
        write_private(self._login_page_path, _LOGIN_PAGE.format(action=action, secret=secret))
        return self._login_page_path

    def prepare(self) -> None:
        """Make the secret and the directory. Prefect makes its database itself."""
        self._home.mkdir(mode=0o700, exist_ok=True)
        if not self._auth_path.exists():
            write_private(self._auth_path, f"nightreel:{secrets.token_urlsafe(24)}")

    def why_outdated(self, argv: Sequence[str]) -> str | None:
        return None if _APPLICATION in argv else "it was started by an older version, which lets every user in"

    def launch(self, port: int) -> Launch:
        # The interpreter ignores an unknown -X option: this one distinguishes servers.
        mark = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]
        return Launch(
            argv=(
                *(sys.executable, "-X", f"nightreel-{mark}", "-m", "uvicorn"),
                *("--app-dir", str(_ABOVE_THE_PACKAGE), "--factory", _APPLICATION, "--log-level", "warning"),
                *("--host", HOST, "--port", str(port)),
            ),
            environment=child_environment(
                **SERVER_SETTINGS,
                PREFECT_SERVER_EVENTS_RETENTION_PERIOD=f"P{self._keep_events_days}D",
                PREFECT_SERVER_API_AUTH_STRING=self._auth_string(),
                PREFECT_SERVER_CORS_ALLOWED_ORIGINS=f"http://{HOST}:{port}",
                PREFECT_HOME=str(self._home),
                PREFECT_PROFILES_PATH=str(self._home / "profiles.toml"),
                PREFECT_API_URL=self.url(port),
                PREFECT_SERVER_API_HOST=HOST,
                PREFECT_SERVER_API_PORT=str(port),
                # Relative to the working directory: a URL cannot hold every character of a path.
                PREFECT_SERVER_DATABASE_CONNECTION_URL="sqlite+aiosqlite:///prefect.db",
                # By default Prefect copies the UI's files into the installation, which may be read-only.
                PREFECT_SERVER_UI_STATIC_DIRECTORY=str(self._home / "ui"),
            ),
            cwd=self._home,
        )

    def why_not_ready(self, process: psutil.Process, port: int) -> str | None:
        """The server is ready when it is healthy, and this process, not another server, listens on the port."""
        try:
            self._request(port, "GET", "/api/health")
        except (OSError, http.client.HTTPException) as error:
            return f"its health check fails: {error}"
        try:
            listening = any(
                socket.status == psutil.CONN_LISTEN and socket.laddr.port == port
                for socket in process.net_connections("tcp4")
            )
        except psutil.NoSuchProcess:
            listening = False
        return None if listening else f"another process listens on port {port}"

    def settle(self, port: int) -> None:
        """Wait until the server has recorded how the task runs ended: it keeps their reports in memory first.

        A killed run stays unfinished in its records, so the wait also ends when nothing has changed for a while.
        """
        deadline = time.monotonic() + _SETTLE_TIMEOUT_S
        last: tuple[int, int] | None = None
        last_change = time.monotonic()
        while time.monotonic() < min(deadline, last_change + _SETTLE_QUIET_S):
            try:
                unfinished = self._count(port, {"task_runs": {"state": {"type": {"any_": _UNFINISHED}}}})
                counts = unfinished, self._count(port, {})
            except (OSError, http.client.HTTPException, PermanentError):
                return  # it is stopping already, or hangs: there is nothing to wait for
            if unfinished == 0:
                return
            if counts != last:
                last, last_change = counts, time.monotonic()
            time.sleep(_SETTLE_POLL_S)

    # -- private --------------------------------------------------------------------------------------------------

    def _auth_string(self) -> str:
        try:
            return self._auth_path.read_text(encoding="ascii")
        except FileNotFoundError:
            raise PermanentError(
                Reason.PREFECT_SECRET_LOST,
                f"{self._auth_path} is missing, and the running Prefect server asks for its content: put it back, or "
                "call `nightreel down`; the next start makes another",
            ) from None

    def _count(self, port: int, task_run_filter: Mapping[str, object]) -> int:
        return int(self._request(port, "POST", "/api/task_runs/count", json.dumps(task_run_filter)))

    def _request(self, port: int, method: str, path: str, body: str | None = None) -> bytes:
        """Send a request and return the body of the response. Not urllib, which would use the environment's proxy."""
        login = base64.b64encode(self._auth_string().encode()).decode()
        connection = http.client.HTTPConnection(HOST, port, timeout=_ANSWER_TIMEOUT_S)
        try:
            connection.request(
                method, path, body, {"Content-Type": "application/json", "Authorization": f"Basic {login}"}
            )
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"{method} {path} returned status {answer.status}")
        return content
