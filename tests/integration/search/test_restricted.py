"""Restricted videos are left out of search for each role, and found only where both the caller and its role may."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from fixtures.postgres import PostgresServer
from fixtures.work_searched import Library, name_of
from psycopg import sql
from sqlalchemy import Connection, text

from nightreel.database.connection import Database
from nightreel.errors import PermanentError
from nightreel.search import SearchFilters, SearchQuery, search
from nightreel.services.postgres_roles import ANALYST, CONSOLE, OWNER, WORKER, Role

AsRole = Callable[[Role], AbstractContextManager[Connection]]


@pytest.fixture
def as_role(library: Library, postgres_server: PostgresServer) -> AsRole:
    """`with as_role(ANALYST) as connection`: the session of a role, to one open and one restricted video."""
    library.add({"open": {"caption": "a van"}, "hidden": {"caption": "a van", "secret": 0.9}})
    url = postgres_server.admin_url.set(database=library.work.database.engine.url.database)

    @contextmanager
    def connect(role: Role) -> Iterator[Connection]:
        database = Database(url.render_as_string(hide_password=False))
        try:
            with database.begin() as connection:
                made = sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(role)).as_string()
                connection.exec_driver_sql(made)
                yield connection
        finally:
            database.close()

    return connect


def found(connection: Connection, *, restricted: bool = False) -> set[str]:
    page = search(connection, SearchQuery(text="van", filters=SearchFilters(restricted=restricted)))
    assert page.count == len(page.hits)
    assert all(hit.restricted == (name_of(hit.uri) == "hidden") for hit in page.hits)
    return {name_of(hit.uri) for hit in page.hits}


@pytest.mark.parametrize("role", [OWNER, WORKER, CONSOLE, ANALYST])
def test_restricted_videos_are_left_out_by_default(as_role, role):
    with as_role(role) as connection:
        assert found(connection) == {"open"}


@pytest.mark.parametrize("role", [OWNER, WORKER])
def test_the_pipeline_finds_them_on_request(as_role, role):
    with as_role(role) as connection:
        assert found(connection, restricted=True) == {"open", "hidden"}


def test_the_web_service_finds_them_in_a_transaction_that_may(as_role):
    with as_role(CONSOLE) as connection:
        assert found(connection, restricted=True) == {"open"}
        connection.execute(text("SET LOCAL nightreel.restricted = 'on'"))
        assert found(connection) == {"open"}
        assert found(connection, restricted=True) == {"open", "hidden"}


def test_analysts_never_find_them(as_role):
    with as_role(ANALYST) as connection:
        connection.execute(text("SET LOCAL nightreel.restricted = 'on'"))
        assert found(connection, restricted=True) == {"open"}
        query = text("SELECT * FROM reporting.search('van', restricted => true) WHERE said LIKE '%van%'")
        assert [name_of(row.uri) for row in connection.execute(query)] == ["open"]


@pytest.mark.parametrize("role", [CONSOLE, ANALYST])
@pytest.mark.parametrize(
    "statement", ["SELECT terms FROM nightreel.documents", "SELECT languages FROM nightreel.search_index"]
)
def test_readers_have_no_right_to_the_words_themselves(as_role, role, statement):
    with pytest.raises(PermanentError, match="permission denied for"):
        with as_role(role) as connection:
            connection.execute(text(statement))


def test_a_function_of_a_reader_does_not_stand_for_one_of_postgres(as_role):
    """The function runs with the owner's rights, so it must not call what a session has made."""
    with as_role(WORKER) as connection:
        connection.execute(
            text(
                "CREATE FUNCTION pg_temp.starts_with(text, text) RETURNS boolean LANGUAGE plpgsql "
                "AS 'BEGIN RAISE EXCEPTION ''called''; END'"
            )
        )
        connection.execute(text("SET LOCAL search_path = pg_temp, pg_catalog"))
        rows = connection.execute(text("SELECT * FROM reporting.search('va*', under => 's3://')")).all()
        assert len(rows) == 1


def test_a_video_that_becomes_restricted_is_left_out_with_its_verdict(library):
    library.add({"clip": {"caption": "a van"}})
    with library.work.database.begin() as connection:
        assert found(connection) == {"clip"}
        connection.execute(text("UPDATE nightreel.verdicts SET lane = 'restricted', flagged = true, value = 'true'"))
    assert library.found("van") == []
