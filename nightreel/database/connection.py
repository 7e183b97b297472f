"""One database engine for each process, and the translation of a driver's errors into this project's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from nightreel.errors import PermanentError, TransientError
from nightreel.reasons import Reason

# SQLSTATE classes and codes after which the same transaction may succeed: lost connections, resources, conflicts.
_TRANSIENT_CLASSES = ("08", "53", "57", "40", "58")
_ACCESS = {"28P01": "password refused", "28000": "user refused", "3D000": "no such database", "42501": "not permitted"}


class Database:
    """Transactions on one Postgres. Thread-safe. `url` is a SQLAlchemy URL; it is never printed with its password."""

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.engine: Engine = create_engine(
            url,
            pool_size=pool_size,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 10, "application_name": "nightreel"},
        )

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
        return self.engine.url.render_as_string(hide_password=True)


def _translate(error: DBAPIError, where: str) -> Exception:
    state = getattr(error.orig, "sqlstate", None) or ""
    message = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
    refused = next((text for code, text in _ACCESS.items() if state == code), None)
    if refused is None and "authentication failed" in message:
        refused = "password refused"
    if refused is None and "does not exist" in message and error.statement is None:
        refused = "no such database or role"
    if refused:
        return PermanentError(Reason.DATABASE_REFUSED, f"{where}: {refused} ({message}): check NIGHTREEL_DATABASE_URL")
    if state.startswith("40"):
        return TransientError(Reason.DATABASE_CONFLICT, f"{where}: {message}")
    if state.startswith("53"):
        return TransientError(Reason.DATABASE_FULL, f"{where}: {message}")
    lost = not state and isinstance(error, OperationalError | InterfaceError)
    if error.connection_invalidated or lost or state[:2] in _TRANSIENT_CLASSES:
        return TransientError(Reason.DATABASE_UNREACHABLE, f"{where}: {message}")
    return error
