"""Analysts and the web service read views, and the service its tokens: nothing else, no lock, no file, no program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from fixtures.ways_out import OF_THE_ANALYST, OF_THE_CONSOLE, OF_THE_READER, OF_THE_WORKER, OUT, refusal
from sqlalchemy import make_url, text
from typer.testing import CliRunner

from nightreel.api.problems import Problem
from nightreel.api.reading import reading
from nightreel.cli.app import app
from nightreel.database.tokens import find_token
from nightreel.domain.tokens import new_token
from nightreel.errors import SettingsError, TransientError
from nightreel.services import open_services, running_database
from nightreel.services.postgres_roles import ANALYST, CONSOLE, OWNER, SUPERUSER, Role
from nightreel.settings import Settings
from nightreel.stages.database import open_console_database, upgrade_database

READERS = (ANALYST, CONSOLE)
OF_ONE = {ANALYST: OF_THE_ANALYST, CONSOLE: OF_THE_CONSOLE}
VIEWS = "SELECT relname FROM pg_class WHERE relnamespace = 'reporting'::regnamespace AND relkind IN ('v', 'm')"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Settings]:
    """An embedded Postgres with the tables of this version."""
    settings = Settings(work_dir=tmp_path_factory.mktemp("readers"), _env_file=None)
    with open_services(settings, prefect=False) as endpoints:
        upgrade_database(endpoints.owner_url)
        yield settings


def connect(settings: Settings, role: Role, database: str = "nightreel") -> psycopg.Connection:
    url = running_database(settings, role=role).set(drivername="postgresql", database=database)
    return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True, prepare_threshold=None)


@pytest.fixture(scope="module")
def readers(site) -> Iterator[dict[Role, psycopg.Connection]]:
    with ExitStack() as stack:
        yield {role: stack.enter_context(connect(site, role)) for role in READERS}


@pytest.mark.parametrize("role", READERS)
def test_a_reader_gets_nothing_but_views(readers, role):
    """A session can change its settings, so it is refused by its rights, not because it starts read-only."""
    connection, found = readers[role], {}
    for statement in (*OUT, *OF_THE_WORKER, *OF_THE_READER, *OF_ONE[role]):
        connection.execute("SET default_transaction_read_only = off")
        found[statement] = refusal(connection, statement)
    assert len(found) >= 120
    assert {statement: state for statement, state in found.items() if state is None} == {}
    elsewhere = {statement: state for statement, state in found.items() if state != "42501"}
    # a catalog, a library or a function is refused by other words, and so are views that take no rows
    assert set(elsewhere.values()) <= {"42601", "58P01", "42939", "42P17", "42710", "55000"}, elsewhere


@pytest.mark.parametrize("role", READERS)
def test_a_reader_reads_every_view_by_its_name_alone(readers, role):
    views = [name for (name,) in readers[role].execute(VIEWS)]
    assert {"videos", "answers", "runs", "failures"} <= set(views)
    for view in views:
        readers[role].execute(f"SELECT * FROM {view} LIMIT 1")


@pytest.mark.parametrize("role", READERS)
@pytest.mark.parametrize("database", ["postgres", "template1"])
def test_a_reader_connects_to_no_other_database(site, role, database):
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        connect(site, role, database)


def test_the_web_service_finds_tokens_and_notes_their_use(readers):
    readers[CONSOLE].execute("SELECT sha256 FROM nightreel.tokens")
    readers[CONSOLE].execute("UPDATE nightreel.tokens SET last_used_at = now() WHERE id = 1")


def test_the_service_of_the_embedded_postgres_connects_as_its_role(site):
    with open_console_database(site) as database, database.begin() as connection:
        assert connection.execute(text("SELECT current_user")).scalar() == CONSOLE
        assert find_token(connection, new_token()) is None


def test_transactions_of_the_service_write_nothing_and_end_in_time(site, monkeypatch):
    monkeypatch.setattr("nightreel.api.reading.STATEMENT_S", 0.2)
    with open_console_database(site) as database:
        with pytest.raises(TransientError, match="read-only transaction"):
            with reading(database, restricted=False) as connection:
                connection.execute(text("UPDATE nightreel.tokens SET last_used_at = now()"))
        with pytest.raises(Problem) as slow, reading(database, restricted=False) as connection:
            connection.execute(text("SELECT count(*) FROM generate_series(1, 10000000000)"))
        assert slow.value.status == 503
        assert "needs longer than 0.2 s" in slow.value.detail
        with reading(database, restricted=True) as connection:
            assert connection.execute(text("SHOW nightreel.restricted")).scalar() == "on"
        with database.begin() as connection:
            left = connection.execute(text("SELECT current_setting('nightreel.restricted', true)")).scalar()
        assert left in (None, ""), "the next transaction of this connection sees no restricted video"


def test_sessions_of_analysts_start_read_only_and_with_limits(readers):
    def shown(role: Role, setting: str) -> str:
        return readers[role].execute(f"SHOW {setting}").fetchone()[0]

    assert shown(ANALYST, "default_transaction_read_only") == "on"
    assert shown(ANALYST, "statement_timeout") == "2min"
    assert shown(ANALYST, "idle_session_timeout") == "12h"
    assert shown(CONSOLE, "statement_timeout") == "30s"
    for role in READERS:
        assert shown(role, "temp_file_limit") == "4GB"


def test_rights_are_as_stated_after_the_next_start_and_upgrade(site):
    with connect(site, SUPERUSER) as connection:
        for statement in (
            "GRANT ALL ON ALL TABLES IN SCHEMA nightreel TO nightreel_analyst",
            "GRANT ALL ON ALL TABLES IN SCHEMA reporting TO PUBLIC",
            "GRANT EXECUTE ON FUNCTION pg_sleep(double precision) TO PUBLIC",
            "ALTER ROLE nightreel_console CREATEROLE",
            "GRANT pg_read_all_data TO nightreel_analyst",
        ):
            connection.execute(statement)
    with open_services(site, prefect=False) as endpoints:
        upgrade_database(endpoints.owner_url)
    with connect(site, ANALYST) as connection:
        connection.execute("SET default_transaction_read_only = off")
        for statement in ("SELECT * FROM nightreel.videos", "SELECT pg_sleep(0)"):
            assert refusal(connection, statement) == "42501", statement
        assert connection.execute(
            "SELECT rolcreaterole, has_table_privilege('public', 'reporting.runs', 'DELETE') FROM pg_roles "
            "WHERE rolname = 'nightreel_console'"
        ).fetchone() == (False, False)


def test_a_command_prints_the_url_that_an_analyst_pastes(site, monkeypatch):
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(site.work_dir))
    said = CliRunner().invoke(app, ["db", "url", "--as", "analyst"])
    assert said.exit_code == 0, said.output
    assert make_url(said.stdout.strip()).username == ANALYST
    with psycopg.connect(said.stdout.strip()) as connection:
        assert connection.execute("SELECT count(*) FROM videos").fetchone() == (0,)
    path = site.work_dir / "postgres" / "password.analyst"
    assert path.stat().st_mode & 0o777 == 0o600
    roles = CliRunner().invoke(app, ["db", "roles"])
    assert roles.exit_code == 0, roles.output
    for role in (OWNER, *READERS):
        assert f"{role}\tyes" in roles.stdout


def test_the_url_of_a_server_of_the_users_own_is_not_known(site, monkeypatch, tmp_path):
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(tmp_path))
    empty = CliRunner().invoke(app, ["db", "url"])
    assert isinstance(empty.exception, SettingsError)
    assert "`nightreel up` makes and starts it" in str(empty.exception)
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", "postgresql://ann:secret@127.0.0.1:1/night")
    own = CliRunner().invoke(app, ["db", "url"])
    assert isinstance(own.exception, SettingsError)
    assert "the password of nightreel_analyst" in str(own.exception)
    assert "secret" not in str(own.exception)
