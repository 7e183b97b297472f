"""docker/postgres/roles.sql, run by the real psql: new volumes get the roles, and volumes of older versions too."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psycopg
import pytest

from nightreel.database.connection import Database
from nightreel.database.migrations import upgrade
from nightreel.services.postgres import Postgres
from nightreel.services.postgres_binaries import bin_directory
from nightreel.services.postgres_roles import SUPERUSER
from nightreel.services.process import SharedServer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with one role, the superuser, as the image of a container makes it."""
    program = Postgres(tmp_path_factory.mktemp("container"), options={"fsync": "off"})
    server = SharedServer(program)
    server.join()
    port = server.wait_ready()
    url = program.url(port, role=SUPERUSER).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER DATABASE nightreel OWNER TO nightreel")
        roles = "nightreel_owner, nightreel_worker, nightreel_analyst, nightreel_console"
        connection.execute(f"DROP OWNED BY {roles}")
        connection.execute(f"DROP ROLE {roles}")
    yield program, port
    server.leave()


def state_roles(program: Postgres, port: int, directory: Path) -> None:
    secrets = directory / "secrets"
    subprocess.run(["sh", ROOT / "docker" / "make_secrets.sh", secrets], check=True)
    statements = (ROOT / "docker" / "postgres" / "roles.sql").read_text()
    (directory / "roles.sql").write_text(statements.replace("/run/secrets", str(secrets)))
    for name in ("hand_over.sql", "close_public.sql", "role_settings.sql"):
        (directory / name).write_text((ROOT / "nightreel" / "services" / name).read_text())
    password = program.url(port, role=SUPERUSER).password
    psql = [
        bin_directory() / "psql",
        "--host=127.0.0.1",
        f"--port={port}",
        "--username=nightreel",
        "--dbname=nightreel",
    ]
    done = subprocess.run(
        [*psql, "--no-psqlrc", "--quiet", f"--file={directory / 'roles.sql'}"],
        env={"PGPASSWORD": str(password), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def owners(program: Postgres, port: int, database: str) -> set[str]:
    url = program.url(port, role=SUPERUSER, database=database).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
        rows = connection.execute(
            "SELECT relowner::regrole::text FROM pg_class WHERE relnamespace::regnamespace::text IN ('nightreel',"
            " 'reporting', 'public') AND relkind IN ('r', 'v', 'S')"
            " UNION SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()"
        )
        return {owner for (owner,) in rows}


def test_a_volume_of_an_older_version_is_handed_over_and_the_worker_works(server, tmp_path):
    program, port = server
    superuser = Database(program.url(port, role=SUPERUSER).render_as_string(hide_password=False))
    upgrade(superuser.engine)
    superuser.close()
    url = program.url(port, role=SUPERUSER, database="postgres").set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute("CREATE DATABASE prefect")
    with psycopg.connect(url.set(database="prefect").render_as_string(hide_password=False)) as connection:
        connection.execute("CREATE TABLE flow (id serial PRIMARY KEY)")
        connection.execute("CREATE TYPE state_type AS ENUM ('RUNNING')")
        connection.execute("CREATE VIEW flows AS SELECT * FROM flow")
    for _ in range(2):  # each start states them again
        state_roles(program, port, tmp_path)
    assert owners(program, port, "nightreel") == {"nightreel_owner"}
    assert owners(program, port, "prefect") == {"prefect"}

    urls = {
        role: (tmp_path / "secrets" / name).read_text().strip().replace("@postgres:5432", f"@127.0.0.1:{port}")
        for role, name in (("owner", "nightreel_database_owner_url"), ("worker", "nightreel_database_url"))
    }
    owner = Database(urls["owner"].replace("postgresql:", "postgresql+psycopg:"))
    upgrade(owner.engine)
    owner.close()
    with psycopg.connect(urls["worker"], autocommit=True) as worker:
        assert worker.execute("SELECT count(*) FROM nightreel.videos").fetchone() == (0,)
        for statement in ("COPY (SELECT 1) TO PROGRAM 'id'", "DROP TABLE nightreel.videos", "SET ROLE prefect"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                worker.execute(statement)
    password = (tmp_path / "secrets" / "postgres_worker_password").read_text().strip()
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(host="127.0.0.1", port=port, user="nightreel_worker", password=password, dbname="prefect")
