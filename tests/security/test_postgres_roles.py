"""The pipeline's roles in Postgres cannot leave their database: no programs, no files, no other role, no new tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import psycopg
import pytest
from fixtures.ways_out import OF_THE_WORKER, OUT, refusal
from psycopg import sql
from sqlalchemy import make_url, text

from nightreel.database.connection import Database
from nightreel.database.migrations import upgrade
from nightreel.database.requirements import require_rights
from nightreel.services import open_services
from nightreel.services.postgres import Postgres
from nightreel.services.postgres_roles import OWNER, SUPERUSER, WORKER
from nightreel.services.process import SharedServer
from nightreel.settings import Settings
from nightreel.stages.database import open_database


@pytest.fixture(scope="module")
def roles(postgres_server) -> Iterator[dict[str, psycopg.Connection]]:
    """A connection of each role to one database with all tables."""
    postgres_server.execute(sql.SQL("CREATE DATABASE roles OWNER nightreel_owner"))
    urls = {
        role: url.set(database="roles", drivername="postgresql").render_as_string(hide_password=False)
        for role, url in ((OWNER, postgres_server.owner_url), (WORKER, postgres_server.worker_url))
    }
    owner = Database(urls[OWNER].replace("postgresql:", "postgresql+psycopg:"))
    upgrade(owner.engine)
    owner.close()
    with ExitStack() as stack:  # without transactions: some statements are refused in one, whoever asks
        yield {
            role: stack.enter_context(psycopg.connect(url, autocommit=True, prepare_threshold=None))
            for role, url in urls.items()
        }
    postgres_server.execute(sql.SQL("DROP DATABASE roles WITH (FORCE)"))


@pytest.mark.parametrize("role", [OWNER, WORKER])
def test_no_role_of_the_pipeline_leaves_its_database(roles, role):
    # insufficient_privilege; a catalog, a library or a function is refused by other words
    found = {statement: refusal(roles[role], statement) for statement in OUT}
    assert {statement: state for statement, state in found.items() if state is None} == {}
    elsewhere = {statement: state for statement, state in found.items() if state != "42501"}
    assert set(elsewhere.values()) <= {"42601", "58P01", "42939", "42P17"}, elsewhere


def test_the_worker_changes_no_table_view_or_function(roles):
    found = {statement: refusal(roles[WORKER], statement) for statement in OF_THE_WORKER}
    wrong = {statement: state for statement, state in found.items() if state != "42501"}
    assert wrong == {}


def test_the_worker_gives_no_rights_away(roles):
    roles[WORKER].execute("GRANT SELECT ON nightreel.videos TO PUBLIC")  # a warning in Postgres, not an error
    granted = roles[WORKER].execute("SELECT has_table_privilege('public', 'nightreel.videos', 'SELECT')").fetchone()
    assert granted == (False,)


def test_every_connection_needs_a_password_and_there_is_no_socket_to_connect_to(postgres_server):
    with closing(psycopg.connect(postgres_server.admin_url.set(drivername="postgresql").render_as_string(False))) as it:
        rules = it.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules WHERE error IS NULL").fetchall()
        assert rules == [("scram-sha-256",)]
        sockets = it.execute("SHOW unix_socket_directories").fetchone()
        assert sockets == ("",)


def test_the_pipeline_and_migrations_never_connect_as_the_superuser(service_settings: Settings):
    with open_services(service_settings, prefect=False) as endpoints:
        assert make_url(endpoints.database_url).username == WORKER
        assert make_url(endpoints.owner_url).username == OWNER
        for url in (endpoints.database_url, endpoints.owner_url):
            assert str(make_url(url).password) not in repr(endpoints)
    directory = service_settings.work_dir / "postgres"
    passwords = [directory / name for name in ("password", "password.owner", "password.worker")]
    assert [path.stat().st_mode & 0o777 for path in passwords] == [0o600] * 3
    assert len({path.read_text() for path in passwords}) == 3
    log = (directory / "server.log").read_text()
    assert not any(path.read_text() in log for path in passwords)


def as_superuser(program: Postgres, port: int, *statements: str) -> None:
    url = program.url(port, role=SUPERUSER).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_data_directory_of_an_older_version_is_handed_over(service_settings: Settings):
    """Older versions had one role, which owned everything and was a superuser."""
    program = Postgres(service_settings.work_dir / "postgres")
    with open_services(service_settings, prefect=False) as endpoints:
        port = make_url(endpoints.database_url).port or 0
        superuser = Database(program.url(port, role=SUPERUSER).render_as_string(hide_password=False))
        upgrade(superuser.engine)
        superuser.close()
        as_superuser(
            program,
            port,
            "CREATE TYPE nightreel.mood AS ENUM ('calm')",
            "CREATE TABLE nightreel.old AS SELECT 42 AS x",
            "ALTER DATABASE nightreel OWNER TO nightreel",
            "DROP OWNED BY nightreel_worker, nightreel_owner",
            "DROP ROLE nightreel_worker, nightreel_owner",
        )
        for name in ("owner", "worker"):
            (program.directory / f"password.{name}").unlink()
        # A server that an older version keeps running is set up by the next command.
        with open_database(service_settings, to_write=True) as database, database.begin() as connection:
            assert connection.execute(text("SELECT x FROM nightreel.old")).scalar() == 42
    with open_database(service_settings, to_write=True) as database, database.begin() as connection:
        owners = connection.execute(
            text(
                "SELECT DISTINCT relowner::regrole::text FROM pg_class"
                " WHERE relnamespace::regnamespace::text IN ('nightreel', 'reporting')"
            )
        )
        assert owners.scalars().all() == [OWNER]
        assert connection.execute(text("SELECT current_user")).scalar() == WORKER


def test_rights_that_somebody_added_are_taken_back(service_settings: Settings):
    program = Postgres(service_settings.work_dir / "postgres")
    with open_database(service_settings):
        port = SharedServer(program).state().port
        as_superuser(
            program,
            port,
            "ALTER ROLE nightreel_worker SUPERUSER CREATEROLE",
            "GRANT pg_execute_server_program TO nightreel_owner WITH ADMIN OPTION",
            "GRANT ALL ON ALL TABLES IN SCHEMA nightreel TO nightreel_worker",
        )
        with open_database(service_settings) as database, database.begin() as connection:
            row = connection.execute(
                text(
                    "SELECT rolsuper, rolcreaterole, (SELECT count(*) FROM pg_auth_members WHERE member ="
                    " 'nightreel_owner'::regrole), has_table_privilege('nightreel.videos', 'TRUNCATE')"
                    " FROM pg_roles WHERE rolname = 'nightreel_worker'"
                )
            ).one()
            assert tuple(row) == (False, False, 0, False)


def test_a_server_of_the_users_own_is_migrated_by_the_owner_and_used_by_the_worker(
    empty_database_url, postgres_server, tmp_path
):
    worker_url = postgres_server.worker_url.set(database=make_url(empty_database_url).database)
    settings = Settings(
        work_dir=tmp_path / "work",
        database_url=worker_url.render_as_string(hide_password=False),
        database_owner_url=empty_database_url,
        _env_file=None,
    )
    with open_services(settings, prefect=False) as endpoints:
        owner = Database(endpoints.owner_url)
        upgrade(owner.engine)
        owner.close()
    with open_database(settings, to_write=True) as database, database.begin() as connection:
        require_rights(connection)
        assert connection.execute(text("SELECT current_user")).scalar() == WORKER
    assert "4711" not in str(settings.public()["database_owner_url"])
    assert settings.public()["database_owner_url"] == "**********"
