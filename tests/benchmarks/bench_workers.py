"""One, two and four workers on separate hosts, one Prefect server, one Postgres. `make bench-workers`, 18 minutes.

A backfill of four shards. The model is a server that sleeps for a second a segment and takes one segment of a host at a
time. The benchmark therefore measures everything else: whether orchestration, database and dispatch let four workers do
four times the work. A last run with four workers kills one host in the middle.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.harness import Report, Row
from benchmarks.worker_sides import Outcome, repeated_questions, site, throughput, value, wait, write_video
from fixtures.chat_server import ChatServer
from fixtures.hosts import Hosts
from prefect.client.orchestration import get_client

from nightreel.options import AnalyzeOptions, settings_for
from nightreel.orchestration.dispatch import dispatch
from nightreel.settings import load_settings
from nightreel.stages.backfill import list_backfill

SHARDS = 4
SLEEP_S = 1.0


def main(a_shard: int = 100) -> None:
    report = Report("workers", versions=("prefect", "psycopg", "sqlalchemy"))
    with tempfile.TemporaryDirectory() as name:
        videos = Path(name) / "videos"
        for seed in range(SHARDS * a_shard):
            write_video(videos / f"{seed:04}.mp4", seed)
        found = {}
        for how, workers, killed in (
            ("1 worker", 1, False),
            ("2 workers", 2, False),
            ("4 workers", 4, False),
            ("4 workers, one killed", 4, True),
        ):
            found[how] = _work_off(
                Path(name) / how.replace(", ", " ").replace(" ", "-"), videos, workers=workers, with_kill=killed
            )
            print(how, found[how], flush=True)
    for row in _rows(found):
        report.add(row)
    report.finish()


def _rows(found: dict[str, Outcome]) -> Iterator[Row]:
    for how, goal in (("2 workers", 1.8), ("4 workers", 3.6)):
        note = (
            f"{SHARDS} shards of {found[how].videos // SHARDS} videos, {SLEEP_S:g} s of the model each, whole backfill"
        )
        yield throughput(how, found[how], found["1 worker"], one_is="1 worker", goal=goal, note=note)
    for how, outcome in found.items():
        yield repeated_questions(how, outcome, with_kill="killed" in how)


def _work_off(directory: Path, videos: Path, *, workers: int, with_kill: bool) -> Outcome:
    with ExitStack() as stack:
        server = ChatServer()
        stack.callback(server.close)
        server.delay_s = SLEEP_S
        environment, database = stack.enter_context(site(directory, server))
        hosts = stack.enter_context(Hosts(directory, environment))
        client = stack.enter_context(get_client(sync_client=True))
        hosts.deploy()
        names = [f"host-{number}" for number in range(workers)]
        for name in names:
            hosts.start(name)
        hosts.wait_ready(*names)
        options = AnalyzeOptions(source=str(videos))
        with list_backfill(options, settings_for(options), database=database) as listed:
            total = listed.estimate().totals.videos
        with list_backfill(options, settings_for(options), database=database, shard_videos=total // SHARDS) as listed:
            listed.accept(pool=hosts.pool)
        began = time.time()
        assert dispatch(database, client, load_settings(), linked=False).submitted == SHARDS
        if with_kill:
            wait(database, f"SELECT count(*) >= {total // 4} FROM nightreel.analyses WHERE status = 'done'")
            hosts.kill(names[0])
        wait(database, "SELECT status = 'done' FROM nightreel.backfills")
        return Outcome(
            seconds=value(database, "SELECT extract(epoch FROM max(updated_at))::float8 FROM nightreel.analyses")
            - began,
            videos=total,
            done=value(database, "SELECT count(*) FROM nightreel.analyses WHERE status = 'done'"),
            answers=value(database, "SELECT count(*) FROM nightreel.answers"),
            asked=server.questions_asked,
            runs=value(
                database,
                "SELECT jsonb_object_agg(status, found) FROM"
                " (SELECT status, count(*) AS found FROM nightreel.runs GROUP BY status) AS run",
            ),
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
