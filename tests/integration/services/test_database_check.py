"""A database that could fail later is refused at the first command, with what to do; all others work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import URL, make_url, text

from nightreel.database.connection import Database
from nightreel.doctor import run_checks
from nightreel.errors import NightreelError, PermanentError, SettingsError, TransientError
from nightreel.services import open_services, status
from nightreel.services.postgres import Postgres
from nightreel.services.postgres_roles import SUPERUSER
from nightreel.services.process import SharedServer
from nightreel.services.state import free_port
from nightreel.settings import Settings
from nightreel.stages.database import open_database

Error = type[NightreelError]


def configured(settings: Settings, url: URL | str) -> Settings:
    shown = url if isinstance(url, str) else url.render_as_string(hide_password=False)
    return settings.model_copy(update={"database_url": SecretStr(shown)})


def refusal(settings: Settings, url: URL | str, expected: Error = PermanentError) -> str:
    """The error of a command and of `status`, which agree; checks that they show no password."""
    settings = configured(settings, url)
    with pytest.raises(expected) as caught, open_services(settings, prefect=False):
        pass
    found = status(settings)[0]
    assert (found.state, found.detail) == ("broken", caught.value.detail)
    password = make_url(url).password
    assert password
    assert str(password) not in caught.value.detail
    return f"{caught.value.reason}: {caught.value.detail}"


@pytest.fixture
def alter(postgres_server, empty_database_url) -> Callable[[str], None]:
    """Run a statement about the database of the test, `{}`."""

    def execute(statement: str) -> None:
        name = sql.Identifier(str(make_url(empty_database_url).database))
        postgres_server.execute(sql.SQL(statement).format(name))  # type: ignore[arg-type]

    return execute


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP"])
def test_a_database_of_another_encoding_is_refused(service_settings, empty_database_url, postgres_server, encoding):
    name = sql.Identifier(f"other_{encoding.lower()}")
    make = sql.SQL("CREATE DATABASE {} ENCODING {} LOCALE 'C' TEMPLATE template0")
    postgres_server.execute(make.format(name, sql.Literal(encoding)) + sql.SQL(" LOCALE_PROVIDER libc"))
    try:
        url = make_url(empty_database_url).set(database=f"other_{encoding.lower()}")
        assert f"the database has the encoding {encoding}" in refusal(service_settings, url)
    finally:
        postgres_server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("default_transaction_read_only = on", "default_transaction_read_only is on"),
        ("DateStyle = 'German, DMY'", "DateStyle is 'German, DMY'"),
    ],
)
def test_a_setting_of_the_database_that_breaks_statements_is_refused(
    service_settings, empty_database_url, alter, setting, why
):
    alter(f"ALTER DATABASE {{}} SET {setting}")
    assert refusal(service_settings, empty_database_url).startswith("database_unsuitable: Postgres at 127.0.0.1:")
    assert why in refusal(service_settings, empty_database_url)


@pytest.mark.parametrize(
    "setting",
    [
        "default_transaction_isolation = 'serializable'",
        "client_encoding = 'LATIN1'",
        "IntervalStyle = 'iso_8601'",
        "TimeZone = 'Asia/Kolkata'",
        "search_path = ''",
    ],
)
def test_other_settings_of_the_database_do_no_harm(work, database, alter, setting):
    alter(f"ALTER DATABASE {{}} SET {setting}")
    database.engine.dispose()
    with database.begin() as connection:
        later = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=90)
        query = text("SELECT 'Großes Tor 大門', CAST(:start AS timestamptz) + :wait")
        shown = connection.execute(query, {"start": datetime(2026, 1, 1, tzinfo=UTC), "wait": timedelta(seconds=90)})
        assert tuple(shown.one()) == ("Großes Tor 大門", later)
        assert connection.execute(text("SHOW transaction_isolation")).scalar_one() == "read committed"
    assert work.claim() == []


@pytest.fixture(scope="module")
def standby(tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    """A server in recovery, as one that follows another server is."""
    program = Postgres(tmp_path_factory.mktemp("standby"), options={"fsync": "off"})
    first = SharedServer(program)
    first.join()
    first.wait_ready()
    first.leave()
    signal = program.data / "standby.signal"
    signal.touch()
    os.chown(signal, program.data.stat().st_uid, program.data.stat().st_gid)
    server = SharedServer(program)
    try:
        server.join()
        yield program.url(server.wait_ready(), role=SUPERUSER)
    finally:
        server.leave()


def test_a_standby_is_refused(service_settings, standby):
    assert "it is a standby, which takes no writes" in refusal(service_settings, standby)


def test_of_several_hosts_the_one_that_takes_writes_is_used(service_settings, standby, postgres_server, tmp_path):
    primary = postgres_server.admin_url
    passwords = tmp_path / "passwords"  # these servers are no copies of each other: each has its own password
    passwords.write_text("".join(f"127.0.0.1:{url.port}:*:*:{url.password}\n" for url in (standby, primary)))
    passwords.chmod(0o600)
    down = f"127.0.0.1:{free_port()},127.0.0.1:{standby.port}"

    def several(hosts: str) -> Settings:
        url = f"postgresql://{primary.username}@{hosts}/postgres?sslmode=disable&passfile={passwords}"
        return configured(service_settings, url)

    with open_services(several(f"{down},127.0.0.1:{primary.port}"), prefect=False) as endpoints:
        database = Database(endpoints.database_url)
        with database.begin() as connection:
            assert connection.execute(text("SELECT inet_server_port()")).scalar_one() == primary.port
        database.close()
    with pytest.raises(NightreelError, match="takes no writes") as caught, open_services(several(down), prefect=False):
        pass
    assert caught.value.reason == "database_unsuitable"
    assert f"127.0.0.1:{standby.port} takes no writes" in caught.value.detail


def test_several_poolers_are_accepted(service_settings, database_url, pgbouncer):
    pooled = pgbouncer(database_url, "transaction")
    url = pooled.replace("127.0.0.1:", f"127.0.0.1:{free_port()},127.0.0.1:")
    with open_database(configured(service_settings, url), to_write=True) as database, database.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM nightreel.runs")).scalar_one() == 0


def test_a_server_that_becomes_a_standby_is_left(database_url):
    """Postgres refuses writes with the same SQLSTATE, 25006, in a session that is read-only."""
    database = Database(make_url(database_url).update_query_dict({"options": "-cdefault_transaction_read_only=on"})
                        .render_as_string(hide_password=False), pool_size=1)  # fmt: skip
    with database.begin() as connection:
        before = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with pytest.raises(TransientError, match=r"database_unreachable.*became a standby"), database.begin() as connection:
        connection.execute(text("CREATE SCHEMA other"))
    with database.begin() as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar_one() != before
    database.close()


@pytest.mark.parametrize(
    ("parameter", "why"),
    [
        ("sslmode=perhaps", "sslmode"),
        ("target_session_attrs=any-thing", "target_session_attrs"),
        ("connect_timeout=soon", "connect_timeout"),
        ("sslmode=verify-full", "server does not support SSL"),
        ("sslmod=require", "did you mean sslmode"),
    ],
)
def test_a_parameter_that_cannot_work_is_named(service_settings, empty_database_url, parameter, why):
    url = empty_database_url.replace("sslmode=disable", parameter)
    assert why in refusal(service_settings, url, NightreelError)


def test_parameters_that_libpq_knows_are_used(service_settings, database_url):
    url = make_url(database_url).update_query_dict({"application_name": "mine", "connect_timeout": "3"})
    with open_database(configured(service_settings, url)) as database, database.begin() as connection:
        assert connection.execute(text("SHOW application_name")).scalar_one() == "mine"


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_pooler_is_accepted(service_settings, database_url, pgbouncer, mode):
    settings = configured(service_settings, pgbouncer(database_url, mode))
    with open_database(settings, to_write=True) as database, database.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM nightreel.runs")).scalar_one() == 0
    assert {check.name: check.found for check in run_checks(settings, devices=False)}["tables"].endswith("pooler")


def test_a_pooler_in_statement_mode_is_refused(service_settings, database_url, pgbouncer):
    assert "set pool_mode=transaction" in refusal(service_settings, pgbouncer(database_url, "statement"))


def test_options_that_a_pooler_cannot_pass_on_are_refused(service_settings, database_url, pgbouncer):
    url = make_url(pgbouncer(database_url, "transaction")).update_query_dict({"options": "-cwork_mem=64MB"})
    assert "unsupported startup parameter" in refusal(service_settings, url)


def test_the_console_of_a_pooler_is_refused(service_settings, database_url, pgbouncer):
    url = make_url(pgbouncer(database_url, "transaction")).set(database="pgbouncer")
    assert refusal(service_settings, url).startswith("database_refused")


def test_a_pooler_without_its_postgres_is_unreachable(service_settings, pgbouncer, database_url):
    url = make_url(pgbouncer(database_url, "transaction", server_port=free_port()))
    url = url.update_query_dict({"connect_timeout": "2"})  # until then, it hopes for its Postgres
    assert refusal(service_settings, url, TransientError).startswith("database_unreachable")


@pytest.fixture
def limited(owner_url, postgres_server) -> Iterator[URL]:
    """The database as a user who may log in and nothing more."""
    role = sql.Identifier("limited")
    postgres_server.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'hunter2'").format(role))
    yield make_url(owner_url).set(username="limited", password="hunter2")
    name = make_url(owner_url).database
    database = Database(postgres_server.admin_url.set(database=name).render_as_string(hide_password=False))
    with database.begin() as connection:
        connection.execute(text("DROP OWNED BY limited"))
    database.close()
    postgres_server.execute(sql.SQL("DROP ROLE {}").format(role))


def test_missing_rights_are_named_before_a_run_with_statements_that_give_them(service_settings, limited, owner_url):
    settings, owner = configured(service_settings, limited), Database(owner_url)

    def grant(*statements: str) -> None:
        with owner.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def problem() -> str:
        with pytest.raises(PermanentError) as caught, open_database(settings, to_write=True):
            pass
        assert caught.value.reason == "database_refused"
        assert "hunter2" not in caught.value.detail
        doctor = {check.name: check for check in run_checks(settings, devices=False)}
        assert doctor["tables"].advice == caught.value.detail
        return caught.value.detail

    assert "permission denied for schema nightreel" in problem()
    grant("GRANT USAGE ON SCHEMA nightreel TO limited")
    assert "permission denied for table schema_version" in problem()
    grant("GRANT SELECT ON ALL TABLES IN SCHEMA nightreel TO limited")
    with open_database(settings):
        """A command that only reads needs no more."""
    grant(f'REVOKE TEMPORARY ON DATABASE "{limited.database}" FROM PUBLIC')
    told = problem()
    assert "nightreel.answers" in told
    for statement in told.split(": run ")[1].split("; "):
        grant(statement)
    with open_database(settings, to_write=True):
        """All rights are there."""
    owner.close()


def test_a_user_who_may_not_create_schemas_is_refused_by_an_upgrade(limited, empty_database_url):
    from nightreel.database.migrations import upgrade

    database = Database(
        limited.set(database=make_url(empty_database_url).database).render_as_string(hide_password=False)
    )
    with pytest.raises(PermanentError, match=r"database_refused.*permission denied"), database.translated():
        upgrade(database.engine)
    database.close()


def test_doctor_reports_tables_of_another_version(service_settings, empty_database_url):
    checks = {
        check.name: check for check in run_checks(configured(service_settings, empty_database_url), devices=False)
    }
    assert (checks["postgres"].ok, checks["tables"].ok) == (True, False)
    assert "nightreel db upgrade" in checks["tables"].advice


def test_a_setting_error_names_the_variable(service_settings):
    with (
        pytest.raises(SettingsError, match=r"NIGHTREEL_DATABASE_URL=\*\*\*"),
        open_services(configured(service_settings, "postgresql://ann:hunter2@db/night?pool=4"), prefect=False),
    ):
        pass
    assert not Path(service_settings.work_dir).exists()
