"""One database engine for each process, and the translation of a driver's errors into this project's errors.

No statement relies on a session that outlives its transaction, so a connection pooler in transaction mode may stand
between this process and Postgres: no prepared statements, no session locks, no temporary tables that outlive a commit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from nightreel.database.url import shown
from nightreel.errors import PermanentError, TransientError
from nightreel.reasons import Reason

# SQLSTATE classes and codes after which the same transaction may succeed: lost connections, resources, conflicts,
# timeouts of an idle transaction, locks that were not free in time.
_TRANSIENT_CLASSES = ("08", "53", "57", "40", "58")
_CONFLICTS = ("40", "55")
_TIMEOUTS = ("25P03", "25P04")
_READ_ONLY = "25006"  # Postgres became a standby since the connection was made
_ACCESS = {"28P01": "password refused", "28000": "user refused", "3D000": "no such database", "42501": "not permitted"}
# Defaults, which parameters of the URL override. A dead network is noticed within a minute, before claims run out.
_DEFAULTS = {
    "connect_timeout": 10,
    "application_name": "nightreel",
    "client_encoding": "UTF8",
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
}


class Database:
    """Transactions on one Postgres. Thread-safe. `url` is a SQLAlchemy URL; it is never printed with its password."""

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.engine: Engine = create_engine(
            url,
            pool_size=pool_size,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",  # whatever the default of the user or the database is
            connect_args=connect_arguments(make_url(url)),
        )
        event.listen(self.engine, "handle_error", _leave_a_standby)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction: committed at the end of the block, rolled back on any exception.

        Raises:
            TransientError: `database_unreachable`, `database_conflict` and similar ones: try again.
            PermanentError: `database_refused`: user, password or rights are wrong.
        """
        with self.translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def translated(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeoutError as error:
            raise TransientError(Reason.DATABASE_BUSY, f"no free connection to {self}: {error}") from error
        except DBAPIError as error:
            raise _translate(error, str(self)) from error

    def close(self) -> None:
        self.engine.dispose()

    def __str__(self) -> str:
        return shown(self.engine.url)


def connect_arguments(url: URL) -> dict[str, Any]:
    """Arguments of psycopg's `connect` that the URL does not give."""
    given = {name: value for name, value in _DEFAULTS.items() if name not in url.query}
    return {**given, "prepare_threshold": None}  # a pooler gives the next transaction to another session


def is_pooled(connection: Connection) -> bool:
    """Whether a connection pooler is between this process and Postgres: it names another process than Postgres does."""
    driver = connection.connection.driver_connection
    assert driver is not None
    backend_pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    return bool(driver.info.backend_pid != backend_pid)


def _leave_a_standby(context: ExceptionContext) -> None:
    """Close all connections to a server that became a standby: new ones find the new primary."""
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True


def _translate(error: DBAPIError, where: str) -> Exception:
    state = getattr(error.orig, "sqlstate", None) or ""
    message = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
    refused = next((text for code, text in _ACCESS.items() if state == code), None)
    if refused is None and "authentication failed" in message:
        refused = "password refused"
    if refused is None and "does not exist" in message and error.statement is None:
        refused = "no such database or role"
    if refused:
        return PermanentError(
            Reason.DATABASE_REFUSED,
            f"{where}: {refused} ({message}): check NIGHTREEL_DATABASE_URL, or give this user the right",
        )
    if state.startswith(_CONFLICTS):
        return TransientError(Reason.DATABASE_CONFLICT, f"{where}: {message}")
    if state.startswith("53"):
        return TransientError(Reason.DATABASE_FULL, f"{where}: {message}")
    if state == _READ_ONLY:
        return TransientError(
            Reason.DATABASE_UNREACHABLE, f"{where}: {message}: this server became a standby, and no other takes writes"
        )
    lost = not state and isinstance(error, OperationalError | InterfaceError)
    passing = state[:2] in _TRANSIENT_CLASSES or state in _TIMEOUTS
    if error.connection_invalidated or lost or passing:
        return TransientError(Reason.DATABASE_UNREACHABLE, f"{where}: {message}")
    return error
