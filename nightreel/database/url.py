"""Reads the URL of a configured database as libpq, the client library of Postgres, reads it.

`services.configured` calls it. No error repeats a part of the URL that may be a password.
"""

from __future__ import annotations

import difflib
from urllib.parse import parse_qsl

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo
from sqlalchemy import URL

from nightreel.errors import SettingsError

_EXPECTED = "should be postgresql://user:password@host:port/database; percent-encode special characters in the password"
_PARAMETERS = {"ssl", *(option.keyword.decode() for option in Conninfo.get_defaults())}  # libpq takes ssl=true too
_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")


def parse_url(text: str) -> URL:
    """The URL for SQLAlchemy with psycopg. Several hosts are tried in turn, until one takes writes.

    >>> parse_url("postgres://ann@db1,db2:6432/night").query["host"]
    'db1,db2'

    Raises:
        SettingsError: it is not a URL, or libpq does not know one of its parameters.
    """
    scheme, separator, rest = text.partition("://")
    if scheme not in _SCHEMES or not separator:
        raise _wrong(_EXPECTED)
    _check_parameters(rest)
    try:
        given = conninfo_to_dict(f"postgresql://{rest}")
    except psycopg.Error:
        raise _wrong(_EXPECTED) from None
    values = {name: str(value) for name, value in given.items()}
    user, password, database = (values.pop(name, None) for name in ("user", "password", "dbname"))
    host, port = values.pop("host", None), values.pop("port", None)
    ports = port.split(",") if port else []
    if not all(not item or (item.isascii() and item.isdigit() and 0 < int(item) < 65536) for item in ports):
        raise _wrong(f"a port is not a number from 1 to 65535: {_EXPECTED}")
    hosts = host.split(",") if host else []
    if len(ports) > 1 and len(ports) != len(hosts):
        raise _wrong(f"it has {len(hosts)} hosts and {len(ports)} ports: give each host its port, or all the same one")
    several = len(hosts) > 1
    if several:
        port = ",".join(ports * len(hosts)) if len(ports) == 1 else port
        values.setdefault("target_session_attrs", "read-write")
    alone = not several and not (host or "").startswith(("/", "@"))  # a path of a socket does not fit before the slash
    if not alone:
        values |= {name: value for name, value in (("host", host), ("port", port)) if value}
    return URL.create(
        "postgresql+psycopg",
        username=user,
        password=password,
        host=host if alone else None,
        port=int(port) if alone and port else None,
        database=database,
        query=values,
    )


def shown(url: URL) -> str:
    """The URL without anything secret: the password is masked, parameters that may hold one are left out."""
    secret = [name for name in url.query if "password" in name or "secret" in name]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


def _check_parameters(rest: str) -> None:
    login, at, after = rest.partition("@")
    if not at or "/" in login:
        after = rest
    place, _, query = after.partition("?")
    if "@" in place:
        raise _wrong(_EXPECTED)  # the password has a slash: libpq would take a part of it for the database
    names = [name for name, _ in parse_qsl(query, keep_blank_values=True)]
    for name in names:
        if name not in _PARAMETERS:
            if "@" in query:
                raise _wrong(_EXPECTED)  # the name may be a part of the password
            near = difflib.get_close_matches(name, _PARAMETERS, n=1)
            meant = f"did you mean {near[0]}?" if near else "remove it"
            raise _wrong(f"Postgres has no connection parameter {name!r}: {meant}")
        if names.count(name) > 1:
            raise _wrong(f"it has the parameter {name!r} twice: give it once; write hosts as host1:port,host2:port")


def _wrong(what: str) -> SettingsError:
    return SettingsError(f"NIGHTREEL_DATABASE_URL=***: {what}")
