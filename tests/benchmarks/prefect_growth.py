"""How the database of the embedded Prefect server grows, night after night, without and with `tidy-prefect`.

    PYTHONPATH=.:tests python -m benchmarks.prefect_growth --nights 10 --keep 3

A night is a flow run of so many chunks, four task runs each, with an artifact and heartbeats. A day has other runs
with one task run each: retries and dispatches of backfills. No model runs: tasks only log a line. After each night, all
times in the database become a day older, because the API cannot make a run old.
"""

from __future__ import annotations

import argparse
import logging
import os
import sqlite3
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import flow, get_run_logger, tags, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_HOME, temporary_settings

from nightreel.orchestration.client import settings_of
from nightreel.orchestration.tidying import Tidied, tidy
from nightreel.services.prefect_server import PrefectServer
from nightreel.services.process import SharedServer
from nightreel.units import human_bytes

TIMES = {
    "flow_run": ("start_time", "end_time", "expected_start_time"),
    "task_run": ("start_time", "end_time", "expected_start_time"),
    "log": ("timestamp",),
    "events": ("occurred",),
    "event_resources": ("occurred",),
}
TABLES = (*TIMES, "flow_run_state", "task_run_state", "artifact")
HEARTBEATS = 960  # in 8 hours
THREADS = 4


@task
def step() -> None:
    get_run_logger().info("a line of a task run")


@flow
def night(chunks: int) -> None:
    create_markdown_artifact("# A night\n" + "| a video | a reason |\n" * 20, key="night")
    context = FlowRunContext.get()
    assert context
    assert context.flow_run
    resource = {"prefect.resource.id": f"prefect.flow-run.{context.flow_run.id}"}
    for _ in range(HEARTBEATS):
        emit_event("prefect.flow-run.heartbeat", resource=resource)
    for _ in range(chunks * 4):
        step()


@flow
def small() -> None:
    step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=10)
    parser.add_argument("--keep", type=int, default=3, help="days")
    parser.add_argument("--chunks", type=int, default=25, help="of a night")
    parser.add_argument("--others", type=int, default=20, help="other runs of a day: 312 in a real one")
    parser.add_argument("--only-tidied", action="store_true", help="leave out the side without `tidy-prefect`")
    given = parser.parse_args()
    # Prefect's upkeep of events runs hourly: here a day takes seconds.
    os.environ["PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS"] = "2"
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).handlers = [APILogHandler()]
    for tidied in (True,) if given.only_tidied else (False, True):
        print("with tidy-prefect" if tidied else "without", flush=True)
        measure(given, tidied=tidied)


def measure(given: argparse.Namespace, *, tidied: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        program = PrefectServer(Path(directory), keep_days=given.keep if tidied else 0)
        server = SharedServer(program)
        server.join()
        try:
            api = program.api(server.wait_ready())
            records = Path(directory, "home", "prefect.db")
            with temporary_settings({**settings_of(api), PREFECT_HOME: Path(directory, "client")}):
                for number in range(1, given.nights + 1):
                    one_day(given)
                    settle(records)
                    make_older(records)
                    print(f"night {number}: {size(records)}", flush=True)
                    if tidied:
                        done, took_s = tidy_now(given.keep)
                        time.sleep(10)  # upkeep of events, logs of deleted runs
                        print(f"  {done} in {took_s:.1f} s: {size(records)}", flush=True)
        finally:
            server.leave()


def one_day(given: argparse.Namespace) -> None:
    with tags("nightreel"), ThreadPoolExecutor(THREADS) as pool:
        began = [pool.submit(copy_context().run, night, given.chunks)]
        began += [pool.submit(copy_context().run, small) for _ in range(given.others)]
        for one in began:
            one.result()
    APILogHandler().flush()


def settle(records: Path) -> None:
    """Wait until the server has written what it keeps in memory."""
    last, now = {}, counts(records)
    while now != last:
        time.sleep(4)
        last, now = now, counts(records)


def make_older(records: Path) -> None:
    with closing(sqlite3.connect(records, timeout=60)) as connection, connection:
        for table, columns in TIMES.items():
            changes = ", ".join(f"{one} = strftime('%Y-%m-%d %H:%M:%f', {one}, '-1 day')" for one in columns)
            connection.execute(f"UPDATE {table} SET {changes}")


def tidy_now(keep: int) -> tuple[Tidied, float]:
    began = time.monotonic()
    with get_client(sync_client=True) as client:
        return tidy(client, before=datetime.now(UTC) - timedelta(days=keep)), time.monotonic() - began


def counts(records: Path) -> dict[str, int]:
    with closing(sqlite3.connect(records, timeout=60)) as connection:
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}


def size(records: Path) -> str:
    with closing(sqlite3.connect(records, timeout=60)) as connection:
        pages, free, page = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
    rows = counts(records)
    each = ", ".join(f"{name} {count:,}" for name, count in rows.items())
    used = human_bytes((pages - free) * page)
    return f"file {human_bytes(pages * page)}, used {used}, {sum(rows.values()):,} rows: {each}"


if __name__ == "__main__":
    main()
