"""One, two and four workers on separate hosts, one Prefect server, one Postgres. `make bench-workers`, 18 minutes.

A backfill of four shards. The model is a server that sleeps for a second a segment and takes one segment of a host at a
time. The benchmark therefore measures everything else: whether orchestration, database and dispatch let four workers do
four times the work. A last run with four workers kills one host in the middle.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Report, Row
from fixtures.chat_server import ChatServer
from fixtures.hosts import Hosts, one_by_one, wait_for
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from sqlalchemy import text

from nightreel.database.connection import Database
from nightreel.database.migrations import upgrade
from nightreel.demo.clips import Clip, write_clip
from nightreel.demo.scenes import draw_scene
from nightreel.options import AnalyzeOptions, settings_for
from nightreel.orchestration.dispatch import dispatch
from nightreel.services import open_services
from nightreel.settings import load_settings
from nightreel.stages.backfill import list_backfill

SHARDS = 4
SLEEP_S = 1.0
CHUNK, IN_FLIGHT = 8, 2
_TIMEOUT_S = 1200.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished backfill.

    Args:
        seconds: from its dispatch to its last commit; all workers wait for the dispatch.
        asked: questions to the model. runs: runs of shards by status.
    """

    seconds: float
    videos: int
    done: int
    answers: int
    asked: int
    runs: dict[str, int]

    @property
    def videos_a_second(self) -> float:
        return self.videos / self.seconds


def main(a_shard: int = 100) -> None:
    report = Report("workers", versions=("prefect", "psycopg", "sqlalchemy"))
    with tempfile.TemporaryDirectory() as name:
        videos = Path(name) / "videos"
        for seed in range(SHARDS * a_shard):
            _write_video(videos / f"{seed:04}.mp4", seed)
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
    one = found["1 worker"].videos_a_second
    for how, goal in (("2 workers", 1.8), ("4 workers", 3.6)):
        ours = found[how].videos_a_second
        yield Row(
            f"{how}: throughput",
            ours,
            one,
            "1 worker",
            "videos/s",
            ours / one,
            f">= {goal}",
            ours / one >= goal,
            f"{SHARDS} shards of {found[how].videos // SHARDS} videos, {SLEEP_S:g} s of the model each, whole backfill",
        )
    for how, outcome in found.items():
        most = CHUNK * IN_FLIGHT if "killed" in how else 0
        again = outcome.asked - outcome.videos
        complete = outcome.done == outcome.answers == outcome.videos
        yield Row(
            f"{how}: repeated questions",
            again,
            max(1, most),
            "chunks in flight" if most else "nothing",
            "questions",
            again / max(1, most),
            f"<= {most}",
            complete and again <= most,
            f"{'all' if complete else 'NOT ALL'} of {outcome.videos} videos have one answer; runs {outcome.runs}",
        )


def _write_video(path: Path, seed: int) -> None:
    """Write three scenes: single scenes repeat, and identical bytes are analysed only once."""
    path.parent.mkdir(exist_ok=True)
    write_clip(path, Clip.of(*((draw_scene(f"{seed} {part}"), 0.4) for part in range(3))))


def _work_off(directory: Path, videos: Path, *, workers: int, with_kill: bool) -> Outcome:
    with ExitStack() as stack:
        server = ChatServer()
        stack.callback(server.close)
        server.delay_s = SLEEP_S
        environment, database = stack.enter_context(_site(directory, server))
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
            _wait(database, f"SELECT count(*) >= {total // 4} FROM nightreel.analyses WHERE status = 'done'")
            hosts.kill(names[0])
        _wait(database, "SELECT status = 'done' FROM nightreel.backfills")
        return Outcome(
            seconds=_value(database, "SELECT extract(epoch FROM max(updated_at))::float8 FROM nightreel.analyses")
            - began,
            videos=total,
            done=_value(database, "SELECT count(*) FROM nightreel.analyses WHERE status = 'done'"),
            answers=_value(database, "SELECT count(*) FROM nightreel.answers"),
            asked=server.questions_asked,
            runs=_value(
                database,
                "SELECT jsonb_object_agg(status, found) FROM"
                " (SELECT status, count(*) AS found FROM nightreel.runs GROUP BY status) AS run",
            ),
        )


@contextmanager
def _site(directory: Path, server: ChatServer) -> Iterator[tuple[dict[str, str], Database]]:
    """Start Postgres and Prefect for all hosts; yield their common settings, which this process gets too."""
    directory.mkdir()
    with open_services(load_settings(work_dir=directory / "services")) as services:
        assert services.prefect_api_url
        environment = {
            "NIGHTREEL_DATABASE_URL": services.database_url,
            **one_by_one(directory, server, chunk=CHUNK),
            "NIGHTREEL_CHUNKS_IN_FLIGHT": str(IN_FLIGHT),
            "NIGHTREEL_WORK_POOL": "bench",
            "PREFECT_API_URL": services.prefect_api_url,
        }
        before = dict(os.environ)
        os.environ |= environment
        database = Database(services.database_url)
        try:
            upgrade(database.engine)
            with temporary_settings({PREFECT_API_URL: services.prefect_api_url}):
                yield environment, database
        finally:
            database.close()
            os.environ.clear()
            os.environ |= before


def _wait(database: Database, query: str) -> None:
    wait_for(lambda: _value(database, query), lambda: query, _TIMEOUT_S)


def _value(database: Database, query: str):
    with database.begin() as connection:
        return connection.execute(text(query)).scalar()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
