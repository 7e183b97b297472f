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
from psycopg.pq import Conninfo, PGconn, Ping
from pydantic import SecretStr
from sqlalchemy import URL

from nightreel.database.connection import connect_arguments
from nightreel.database.requirements import read_facts, why_unsuitable
from nightreel.database.url import parse_url
from nightreel.errors import NightreelError, PermanentError, SettingsError, TransientError
from nightreel.proxies import is_loopback, via_proxy
from nightreel.reasons import Reason

_TIMEOUT_S = 10
# Words of Postgres and of poolers for a server that takes no connection now, but may later.
_PASSING = ("too many", "connection slots", "no more connections", "login has been failing", "login failed", "timeout")


def database_url(configured: SecretStr) -> URL:
    """The configured database for SQLAlchemy with psycopg. Raises like `parse_url`."""
    return parse_url(configured.get_secret_value())


def check_database(url: URL) -> None:
    """Connect to the database, and check that Nightreel can use it.

    Raises:
        TransientError("database_unreachable"): no server responds, or it takes no connections now.
        PermanentError("database_refused"): the server refuses the user, password or database.
        PermanentError("database_unsuitable"): its version, encoding or settings, or it takes no writes.
        SettingsError: a parameter of the URL has an impossible value.
    """
    place = _place(url)
    parameters = {**url.get_dialect()().create_connect_args(url)[1], **connect_arguments(url)}
    try:
        with psycopg.connect(**parameters) as connection:
            problem = why_unsuitable(read_facts(connection))
    except psycopg.Error as error:
        raise _why_refused(error, place, parameters) from None
    if problem:
        raise PermanentError(Reason.DATABASE_UNSUITABLE, f"Postgres at {place}: {problem}")


def _why_refused(error: psycopg.Error, place: str, parameters: Mapping[str, Any]) -> NightreelError:
    """The error for a failed check. The driver's message names host, user and database, not the password."""
    said = str(error).strip()
    if "statement pooling" in said:
        return PermanentError(
            Reason.DATABASE_UNSUITABLE,
            f"the pooler at {place} is in statement mode, and Nightreel needs transactions: set pool_mode=transaction",
        )
    if "session is read-only" in said:  # libpq looked for a server that takes writes
        return PermanentError(
            Reason.DATABASE_UNSUITABLE, f"Postgres at {place} takes no writes: {said}. Name the primary"
        )
    ping = Ping.NO_RESPONSE if any(word in said for word in _PASSING) else _ping(parameters)
    if ping == Ping.NO_ATTEMPT or (isinstance(error, psycopg.ProgrammingError) and not error.sqlstate):
        return SettingsError(f"NIGHTREEL_DATABASE_URL=***: {said}: correct this parameter")
    if ping == Ping.OK:
        return PermanentError(
            Reason.DATABASE_REFUSED, f"Postgres at {place} refused: {said}. Check user, password and database name"
        )
    return TransientError(
        Reason.DATABASE_UNREACHABLE, f"Postgres at {place} does not respond: {said}. Check NIGHTREEL_DATABASE_URL"
    )


def _place(url: URL) -> str:
    hosts = str(url.host or url.query.get("host") or "the local socket").split(",")
    ports = str(url.port or url.query.get("port") or 5432).split(",")
    if len(ports) < len(hosts):
        ports = ports * len(hosts)
    return ", ".join(f"{host}:{port or 5432}" for host, port in zip(hosts, ports, strict=False))


def check_prefect(url: str) -> None:
    """Check that the server responds at all. Prefect's client checks keys and certificates.

    Raises:
        SettingsError: it is not an http(s) URL. TransientError("prefect_unreachable"): it does not respond.
    """
    if not url.startswith(("http://", "https://")):
        raise SettingsError(f"PREFECT_API_URL={url!r}: should be http(s)://host:port/api")
    try:
        opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if is_loopback(url) else []))
        with opener.open(f"{url.rstrip('/')}/health", timeout=_TIMEOUT_S):
            return
    except urllib.error.HTTPError:
        return
    except OSError as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return
        raise TransientError(
            Reason.PREFECT_UNREACHABLE,
            f"the Prefect server at {without_login(url)}{via_proxy(url)} does not respond: {reason}. Check "
            "PREFECT_API_URL",
        ) from None


def without_login(url: str) -> str:
    """Return the URL without user and password."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def _ping(parameters: Mapping[str, Any]) -> Ping:
    """Whether a server accepts connections there, even if it refuses the password."""
    names = {option.keyword.decode() for option in Conninfo.get_defaults()}
    known = {name: value for name, value in parameters.items() if name in names}
    try:
        return Ping(PGconn.ping(make_conninfo("", **known).encode()))
    except psycopg.Error:
        return Ping.NO_ATTEMPT
