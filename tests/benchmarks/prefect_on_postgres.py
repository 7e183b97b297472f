"""A Prefect server on a Postgres of Debian, as in production: the embedded Postgres lacks the extension pg_trgm."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
from fixtures.hosts import wait_for

from nightreel.services.prefect_server import PrefectApi, PrefectServer
from nightreel.services.process import SharedServer
from nightreel.services.program import Launch
from nightreel.services.state import free_port

_PROGRAMS = Path("/usr/lib/postgresql")
_NOBODY = 65534  # Postgres refuses to run as root


def debian_postgres() -> Path | None:
    """The programs of the newest Postgres of Debian; None if there is none."""
    return max(_PROGRAMS.glob("*/bin"), key=lambda path: int(path.parent.name), default=None)


@contextmanager
def prefect_on_postgres(directory: Path) -> Iterator[PrefectApi]:
    """A Prefect server with the settings of the embedded one, and a new Postgres of its own."""
    with tempfile.TemporaryDirectory(prefix="prefect-postgres-") as name, _postgres(Path(name)) as url:
        program = _OnPostgres(directory / "prefect", url)
        server = SharedServer(program)
        server.join()
        try:
            yield program.api(server.wait_ready())
        finally:
            server.leave()


@contextmanager
def _postgres(directory: Path) -> Iterator[str]:
    """The URL of the database `prefect` of a new Postgres, as Prefect writes it.

    Args:
        directory: a temporary one. Its parents are open to the user of Postgres.
    """
    programs = debian_postgres()
    assert programs, f"no Postgres of Debian below {_PROGRAMS}: apt-get install postgresql"
    data, secret, port = directory / "data", secrets.token_urlsafe(24), free_port()
    password = directory / "password"
    password.write_text(secret)
    account = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    if account:
        for path in (directory, password):
            shutil.chown(path, _NOBODY, _NOBODY)
    login = ("--username=prefect", f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale")
    subprocess.run([programs / "initdb", f"--pgdata={data}", *login], check=True, capture_output=True, **account)
    options = (f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200")
    arguments = [part for option in options for part in ("-c", option)]
    server = subprocess.Popen([programs / "postgres", "-D", data, *arguments], stderr=subprocess.DEVNULL, **account)
    try:
        ready = [programs / "pg_isready", "--host=127.0.0.1", f"--port={port}"]
        wait_for(lambda: not subprocess.run(ready, capture_output=True, check=False).returncode, lambda: ready)
        where = f"prefect:{secret}@127.0.0.1:{port}"
        with psycopg.connect(f"postgresql://{where}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE prefect")
        yield f"postgresql+asyncpg://{where}/prefect"
    finally:
        server.terminate()
        server.wait(30)


class _OnPostgres(PrefectServer):
    def __init__(self, directory: Path, url: str) -> None:
        super().__init__(directory)
        self._url = url

    def launch(self, port: int) -> Launch:
        launch = super().launch(port)
        return replace(launch, environment={**launch.environment, "PREFECT_SERVER_DATABASE_CONNECTION_URL": self._url})
