"""50 reviewers in the console at the same time: how long does a page take? `make bench-console`.

A real Postgres has 20,000 videos with ten answers each, and cases of what is flagged. `nightreel console` serves pages
in a process of its own, on this machine. 50 people work for half a minute: they look at their queues, take a case, and
decide it; the reply is the next case, as the browser gets it. Each acts every 5 seconds.
"""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
from benchmarks import sql_rows
from benchmarks.harness import Report, Row
from sqlalchemy import text

from nightreel.database.connection import Database
from nightreel.database.sessions import add_session
from nightreel.database.users import add_user
from nightreel.domain.users import Role
from nightreel.settings import child_environment, load_settings
from nightreel.stages.database import open_database
from nightreel.stages.sort import sort_videos

_VIDEOS, _PEOPLE, _ACTS_EVERY_S, _LASTS_S = 20_000, 50, 5.0, 30.0
_TOKEN = re.compile(r'name="csrf_token" value="([0-9a-f]{64})"')
_VERSION = re.compile(r'name="version" value="(\d+)"')
_RULING = re.compile(r'name="(ruling:\d+:[^"]*)"')
_HEADERS = {"Sec-Fetch-Site": "same-origin"}
_LARGEST_PAGE = 150_000


def main() -> None:
    report = Report("console", versions=("fastapi", "jinja2", "psycopg"))
    with tempfile.TemporaryDirectory() as directory:
        os.environ["NIGHTREEL_WORK_DIR"] = f"{directory}/work"
        settings = load_settings()
        with open_database(settings) as database:
            sql_rows.fill(database, _VIDEOS)
            with database.begin() as connection:
                connection.execute(text("UPDATE nightreel.queue_policies SET applied_at = NULL, progress = 0"))
            sort_videos(database)
            with _console() as url:
                seconds, largest = _work(database, url)
    pages = [one for page in seconds.values() for one in page]
    note = f"{len(pages)} pages, {_PEOPLE} people, median {1000 * _share(pages, 0.5):.0f} ms"
    report.add(Row.of_seconds("a page, 95th percentile", _share(pages, 0.95), 0.3, note))
    for name, own in sorted(seconds.items()):
        goal = 0.15 if name == "next case" else None
        note = f"{len(own)} pages, median {1000 * _share(own, 0.5):.0f} ms"
        report.add(Row.of_seconds(f"{name}, 95th percentile", _share(own, 0.95), goal, note))
    assert largest < _LARGEST_PAGE, f"a page has {largest:,} bytes"
    report.finish()


def _work(database: Database, url: str) -> tuple[dict[str, list[float]], int]:
    """Let people work. Returns the seconds of each kind of page, and the bytes of the largest one."""
    secrets = []
    with database.begin() as connection:
        for number in range(_PEOPLE):
            user = add_user(connection, f"person {number}", role=Role.REVIEWER)
            assert user is not None
            secrets.append(add_session(connection, user, address="127.0.0.1", agent="a benchmark"))
    seconds: dict[str, list[float]] = defaultdict(list)
    largest = 0
    lock = threading.Lock()

    def person(secret: str) -> None:
        nonlocal largest
        with httpx.Client(base_url=url, cookies={"nightreel": secret}, headers=_HEADERS, timeout=60) as client:

            def page(name: str, method: str, path: str, **more: object) -> httpx.Response:
                nonlocal largest
                began = time.perf_counter()
                reply = client.request(method, path, **more)  # type: ignore[arg-type]
                took_s = time.perf_counter() - began
                assert reply.status_code < 400, (path, reply.text[:500])
                with lock:
                    seconds[name].append(took_s)
                    largest = max(largest, len(reply.content))
                return reply

            time.sleep(random.random() * _ACTS_EVERY_S)
            ends_at = time.perf_counter() + _LASTS_S
            queues = page("queues", "GET", "/review").text
            token = _TOKEN.findall(queues)[0]
            taken = page("take", "POST", "/review/queues/general/take", data={"csrf_token": token})
            path = taken.headers["Location"]
            case = page("case", "GET", path).text
            while time.perf_counter() < ends_at:
                time.sleep(_ACTS_EVERY_S)
                rulings = dict.fromkeys(_RULING.findall(case), "reject")
                data = {"csrf_token": token, "version": _VERSION.findall(case)[0], **rulings}
                reply = page("next case", "POST", f"{path}/decide", data=data, headers={"HX-Request": "true"})
                path, case = reply.headers["HX-Push-Url"], reply.text
                page("pictures ahead", "GET", "/review/queues/general/ahead")

    with ThreadPoolExecutor(_PEOPLE) as pool:
        list(pool.map(person, secrets))
    return seconds, largest


@contextmanager
def _console() -> Iterator[str]:
    """The URL of `nightreel console` in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "nightreel.cli", "console", "--port", str(port)]
    with subprocess.Popen(command, env=child_environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "console at" in process.stdout.readline()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _share(seconds: list[float], share: float) -> float:
    return sorted(seconds)[int(share * (len(seconds) - 1))]


if __name__ == "__main__":
    main()
