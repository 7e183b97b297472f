"""Checks whether the configured Postgres and Prefect servers respond and accept the login.

`endpoints` uses it. It starts nothing. No error repeats a password.
"""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping
from pydantic import SecretStr
from sqlalchemy import URL, NullPool, create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from nightreel.errors import PermanentError, SettingsError, TransientError
from nightreel.reasons import Reason

_TIMEOUT_S = 10


def database_url(configured: SecretStr) -> URL:
    """The configured database for SQLAlchemy with psycopg.

    Raises:
        SettingsError: it is not a URL. The error does not repeat the text, which may contain a password.
    """
    try:
        return make_url(configured.get_secret_value()).set(drivername="postgresql+psycopg")
    except (SQLAlchemyError, ValueError):
        raise SettingsError(
            "NIGHTREEL_DATABASE_URL=***: should be postgresql://user:password@host:port/database; "
            "percent-encode special characters in the password"
        ) from None


def check_database(url: URL) -> None:
    """Run a query on the database.

    Raises:
        TransientError("database_unreachable"): no server responds, or it is still starting.
        PermanentError("database_refused"): the server refuses the user, password or database.
    """
    place = f"{url.host or 'the local socket'}:{url.port or 5432}"
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": _TIMEOUT_S})
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except (SQLAlchemyError, psycopg.Error) as error:
        said = getattr(error, "orig", None) or error  # the driver's error names host, user and database
        if _takes_connections(engine.dialect.create_connect_args(url)[1]):
            raise PermanentError(
                Reason.DATABASE_REFUSED, f"Postgres at {place} refused: {said}. Check user, password and database name"
            ) from None
        raise TransientError(
            Reason.DATABASE_UNREACHABLE, f"Postgres at {place} does not respond: {said}. Check NIGHTREEL_DATABASE_URL"
        ) from None


def check_prefect(url: str) -> None:
    """Check that the server responds at all. Prefect's client checks keys and certificates.

    Raises:
        SettingsError: it is not an http(s) URL. TransientError("prefect_unreachable"): it does not respond.
    """
    if not url.startswith(("http://", "https://")):
        raise SettingsError(f"PREFECT_API_URL={url!r}: should be http(s)://host:port/api")
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=_TIMEOUT_S):  # noqa: S310 scheme is checked
            return
    except urllib.error.HTTPError:
        return
    except OSError as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return
        raise TransientError(
            Reason.PREFECT_UNREACHABLE,
            f"the Prefect server at {without_login(url)} does not respond: {reason}. Check PREFECT_API_URL",
        ) from None


def without_login(url: str) -> str:
    """Return the URL without user and password."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def _takes_connections(parameters: Mapping[str, Any]) -> bool:
    """Whether a server accepts connections there, even if it refuses the password."""
    known = {name: value for name, value in parameters.items() if isinstance(value, str | int)}  # not SQLAlchemy's own
    return PGconn.ping(make_conninfo("", **{**known, "connect_timeout": _TIMEOUT_S}).encode()) == Ping.OK
