"""The site of the benchmarks of workers: services, a model that sleeps, and videos that all differ."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


def write_video(path: Path, seed: int) -> None:
    """Write three scenes: single scenes repeat, and identical bytes are analysed only once."""
    path.parent.mkdir(exist_ok=True)
    write_clip(path, Clip.of(*((draw_scene(f"{seed} {part}"), 0.4) for part in range(3))))


@contextmanager
def site(directory: Path, server: ChatServer) -> Iterator[tuple[dict[str, str], Database]]:
    """Start Postgres and Prefect for all hosts; yield their common settings, which this process gets too."""
    directory.mkdir()
    with open_services(load_settings(work_dir=directory / "services")) as services:
        assert services.prefect
        assert services.prefect.auth_string
        environment = {
            "NIGHTREEL_DATABASE_URL": services.database_url,
            **one_by_one(directory, server, chunk=CHUNK),
            "NIGHTREEL_CHUNKS_IN_FLIGHT": str(IN_FLIGHT),
            "NIGHTREEL_WORK_POOL": "bench",
            "PREFECT_API_URL": services.prefect.url,
            "PREFECT_API_AUTH_STRING": services.prefect.auth_string,
        }
        before = dict(os.environ)
        os.environ |= environment
        database = Database(services.database_url)
        try:
            owner = Database(services.owner_url)
            upgrade(owner.engine)
            owner.close()
            url, secret = services.prefect.url, services.prefect.auth_string
            with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: secret}):
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
