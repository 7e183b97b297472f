"""The Prefect server is stopped only after it has processed the events of flows. Tested with a scripted server."""

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nightreel.services import prefect_server
from nightreel.services.prefect_server import PrefectServer
from nightreel.services.state import free_port


@contextmanager
def counting(unfinished: Callable[[], int]) -> Iterator[int]:
    """The port of a server with 100 task runs, `unfinished()` of them unfinished."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/api/task_runs/count"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = str(unfinished() if body else 100).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def made(directory: Path) -> PrefectServer:
    server = PrefectServer(directory)
    server.prepare()
    return server


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_server, "_SETTLE_POLL_S", 0.02)
    monkeypatch.setattr(prefect_server, "_SETTLE_QUIET_S", 0.5)


@pytest.mark.usefixtures("quick")
def test_settling_waits_until_every_task_run_is_recorded_as_finished(tmp_path: Path) -> None:
    backlog = list(range(30, -1, -1))
    with counting(lambda: backlog.pop(0)) as port:
        made(tmp_path).settle(port)
    assert backlog == []


@pytest.mark.usefixtures("quick")
def test_settling_does_not_wait_for_killed_runs_that_never_finish(tmp_path: Path) -> None:
    with counting(lambda: 7) as port:
        began = time.monotonic()
        made(tmp_path).settle(port)
        assert 0.5 <= time.monotonic() - began < 10


@pytest.mark.usefixtures("quick")
def test_settling_times_out_while_runs_continue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_server, "_SETTLE_TIMEOUT_S", 1.0)
    numbers = iter(range(1, 10**6))
    with counting(lambda: next(numbers)) as port:
        began = time.monotonic()
        made(tmp_path).settle(port)
        assert 1.0 <= time.monotonic() - began < 10


def test_settling_ends_immediately_if_the_server_is_gone(tmp_path: Path) -> None:
    began = time.monotonic()
    PrefectServer(tmp_path).settle(free_port())
    assert time.monotonic() - began < 1
