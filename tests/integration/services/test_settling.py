"""When the Prefect server may be stopped: not while it still works off what flows told it. With a scripted server."""

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
    """The port of a server with 100 task runs, so many of which are unfinished."""

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
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_server, "_SETTLE_POLL_S", 0.02)
    monkeypatch.setattr(prefect_server, "_SETTLE_QUIET_S", 0.5)


@pytest.mark.usefixtures("quick")
def test_it_waits_until_every_task_run_is_recorded_as_finished(tmp_path: Path) -> None:
    backlog = list(range(30, -1, -1))
    with counting(lambda: backlog.pop(0)) as port:
        PrefectServer(tmp_path).settle(port)
    assert backlog == []


@pytest.mark.usefixtures("quick")
def test_it_does_not_wait_for_runs_that_were_killed_and_never_finish(tmp_path: Path) -> None:
    with counting(lambda: 7) as port:
        began = time.monotonic()
        PrefectServer(tmp_path).settle(port)
        assert 0.5 <= time.monotonic() - began < 10


@pytest.mark.usefixtures("quick")
def test_it_has_an_end_though_runs_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_server, "_SETTLE_TIMEOUT_S", 1.0)
    numbers = iter(range(1, 10**6))
    with counting(lambda: next(numbers)) as port:
        began = time.monotonic()
        PrefectServer(tmp_path).settle(port)
        assert 1.0 <= time.monotonic() - began < 10


def test_a_server_that_is_gone_has_nothing_to_settle(tmp_path: Path) -> None:
    began = time.monotonic()
    PrefectServer(tmp_path).settle(free_port())
    assert time.monotonic() - began < 1
