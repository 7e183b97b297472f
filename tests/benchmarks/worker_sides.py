"""What benchmarks of several hosts share: services, a model that sleeps, videos that all differ, and rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Row
from benchmarks.prefect_on_postgres import prefect_on_postgres
from fixtures.chat_server import ChatServer
from fixtures.hosts import one_by_one, wait_for
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from sqlalchemy import text

from nightreel.database.connection import Database
from nightreel.database.migrations import upgrade
from nightreel.demo.clips import Clip, write_clip
from nightreel.demo.scenes import draw_scene
from nightreel.services import open_services
from nightreel.settings import load_settings

CHUNK, IN_FLIGHT = 8, 2
_TIMEOUT_S = 1200.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The work of some hosts.

    Args:
        seconds: from its start to its last commit. asked: questions to the model. runs: by status.
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


def throughput(what: str, ours: Outcome, one: Outcome, *, one_is: str, goal: float, note: str) -> Row:
    """Videos a second beside those of one host."""
    ratio = ours.videos_a_second / one.videos_a_second
    return Row(
        f"{what}: throughput",
        ours.videos_a_second,
        one.videos_a_second,
        one_is,
        "videos/s",
        ratio,
        f">= {goal}",
        ratio >= goal,
        note,
    )


def repeated_questions(what: str, outcome: Outcome, *, with_kill: bool, note: str = "") -> Row:
    """Every video has one answer, and only the chunks in flight on a killed host are asked again."""
    most = CHUNK * IN_FLIGHT if with_kill else 0
    again = outcome.asked - outcome.videos
    complete = outcome.done == outcome.answers == outcome.videos
    return Row(
        f"{what}: repeated questions",
        again,
        max(1, most),
        "chunks in flight" if most else "nothing",
        "questions",
        again / max(1, most),
        f"<= {most}",
        complete and again <= most,
        f"{'all' if complete else 'NOT ALL'} of {outcome.videos} videos have one answer; runs {outcome.runs}{note}",
    )


def write_video(path: Path, seed: int) -> None:
    """Write three scenes: single scenes repeat, and identical bytes are analysed only once."""
    path.parent.mkdir(exist_ok=True)
    write_clip(path, Clip.of(*((draw_scene(f"{seed} {part}"), 0.4) for part in range(3))))


@contextmanager
def site(
    directory: Path, server: ChatServer, *, prefect_has_postgres: bool = False
) -> Iterator[tuple[dict[str, str], Database]]:
    """Start Postgres and Prefect for all hosts; yield their common settings, which this process gets too.

    Args:
        prefect_has_postgres: Prefect uses a Postgres of Debian, not SQLite.
    """
    directory.mkdir()
    with ExitStack() as stack:
        settings = load_settings(work_dir=directory / "services")
        services = stack.enter_context(open_services(settings, prefect=not prefect_has_postgres))
        prefect = stack.enter_context(prefect_on_postgres(directory)) if prefect_has_postgres else services.prefect
        assert prefect
        assert prefect.auth_string
        environment = {
            "NIGHTREEL_DATABASE_URL": services.database_url,
            **one_by_one(directory, server, chunk=CHUNK),
            "NIGHTREEL_CHUNKS_IN_FLIGHT": str(IN_FLIGHT),
            "NIGHTREEL_WORK_POOL": "bench",
            "PREFECT_API_URL": prefect.url,
            "PREFECT_API_AUTH_STRING": prefect.auth_string,
        }
        before = dict(os.environ)
        os.environ |= environment
        database = Database(services.database_url)
        try:
            owner = Database(services.owner_url)
            upgrade(owner.engine)
            owner.close()
            with temporary_settings({PREFECT_API_URL: prefect.url, PREFECT_API_AUTH_STRING: prefect.auth_string}):
                yield environment, database
        finally:
            database.close()
            os.environ.clear()
            os.environ |= before


def wait(database: Database, query: str) -> None:
    wait_for(lambda: value(database, query), lambda: query, _TIMEOUT_S)


def value(database: Database, query: str) -> Any:
    with database.begin() as connection:
        return connection.execute(text(query)).scalar()
