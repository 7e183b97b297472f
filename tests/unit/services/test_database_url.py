"""The URL of a configured database is read as libpq reads it, and no error repeats a password."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url

from nightreel.database.connection import Database
from nightreel.database.url import parse_url, shown
from nightreel.errors import SettingsError
from nightreel.settings import load_settings


def arguments(text: str) -> dict:
    """What psycopg is called with, after the URL was passed on as text."""
    url = make_url(parse_url(text).render_as_string(hide_password=False))
    return dict(url.get_dialect()().create_connect_args(url)[1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("//ann:p%40ss@db:6432/night", {"host": "db", "port": 6432, "user": "ann", "password": "p@ss"}),
        ("//ann:p?x=y@db/night", {"host": "db", "password": "p?x=y"}),
        ("//ann@[::1]:6432/night", {"host": "::1", "port": 6432}),
        ("//ann@/night?host=/run/postgresql&port=5433", {"host": "/run/postgresql", "port": "5433"}),
        ("//ann@%2Frun%2Fpostgresql/night", {"host": "/run/postgresql"}),
        ("///night", {"dbname": "night"}),
        ("//db/night?sslmode=require&application_name=a%20b", {"sslmode": "require", "application_name": "a b"}),
        ("//db/night?ssl=true", {"sslmode": "require"}),
        ("//db/night?options=-c%20search_path%3Da", {"options": "-c search_path=a"}),
        ("//ann@db1:5432,db2:6432/night", {"host": "db1,db2", "port": "5432,6432"}),
        ("//ann@db1,db2/night", {"host": "db1,db2"}),
        ("//ann@/night?host=db1,db2&port=6432", {"host": "db1,db2", "port": "6432,6432"}),
    ],
)
@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_url_becomes_the_arguments_that_libpq_would_use(scheme, text, expected):
    found = arguments(f"{scheme}:{text}")
    assert found["dbname"] == "night"
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "attributes"),
    [
        ("postgres://db1,db2/night", "read-write"),
        ("postgres://db1,db2/night?target_session_attrs=primary", "primary"),
        ("postgres://db1/night", None),
    ],
)
def test_the_host_that_takes_writes_is_wanted_of_several(text, attributes):
    assert arguments(text).get("target_session_attrs") == attributes


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("postgres://ann:hunter2@db/night?sslmod=require", "no connection parameter 'sslmod': did you mean sslmode"),
        ("postgres://ann:hunter2@db/night?pgbouncer=true", "no connection parameter 'pgbouncer': remove it"),
        ("postgres://ann:hunter2@db/night?prepare_threshold=0", "no connection parameter 'prepare_threshold'"),
        ("postgres://ann:hunter2@db/night?host=a&host=b", "the parameter 'host' twice"),
        ("postgres://ann:hunter2@db:five/night", "a port is not a number"),
        ("postgres://ann:hunter2@db:99999/night", "a port is not a number"),
        ("postgres://ann:hunter2@db1:1,db2:2,db3/night?port=1,2", "2 ports"),
        ("postgres://ann:hunter2%zz@db/night", "percent-encode"),
        ("postgres://ann:hunter2/x@db/night", "percent-encode"),
        ("postgres://ann:hunter2/x?y=z@db/night", "percent-encode"),
        ("postgres://ann:1234/hunter2@db/night", "percent-encode"),
        ("postgres://ann:hunter2@[::1/night", "percent-encode"),
        ("mysql://ann:hunter2@db/night", "postgresql://user"),
        ("host=db password=hunter2", "postgresql://user"),
    ],
)
def test_a_url_that_libpq_cannot_use_is_refused_without_repeating_it(text, what):
    with pytest.raises(SettingsError, match=what) as caught:
        parse_url(text)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ann:hunter2@db/night?sslmode=require",
        "postgresql://ann@db/night?password=hunter2&sslmode=require",
        "postgresql://ann@db/night?sslpassword=hunter2&sslmode=require",
        "postgresql://ann:hunter2@db1,db2/night?sslmode=require",
    ],
)
def test_a_url_is_shown_without_its_secrets(text):
    database = Database(parse_url(text).render_as_string(hide_password=False))
    for line in (shown(parse_url(text)), str(database)):
        assert "hunter2" not in line
        assert line.startswith("postgresql+psycopg://ann")
        assert "sslmode=require" in line


@pytest.mark.parametrize("text", ["host=db password=hunter2", "hunter2", "mysql://ann:hunter2@db/night"])
def test_a_setting_that_is_no_url_is_refused_without_repeating_it(text, monkeypatch):
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", text)
    with pytest.raises(SettingsError, match="postgresql://user:password") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)
