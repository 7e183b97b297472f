"""Transactions of the service, with a time limit. Restricted videos are for those who may see them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from nightreel.api.problems import Problem
from nightreel.database.connection import Database
from nightreel.errors import TransientError

STATEMENT_S = 20
_CANCELED = "57014"
_BEGIN = text(
    "SELECT set_config('transaction_read_only', :read_only, true), "
    "set_config('statement_timeout', :timeout, true), "
    "set_config('idle_in_transaction_session_timeout', '30s', true), "
    "set_config('nightreel.restricted', :restricted, true)"
)


@contextmanager
def reading(database: Database, *, restricted: bool) -> Iterator[Connection]:
    """A transaction that writes nothing.

    Args:
        restricted: views show texts and pictures of restricted videos, too.

    Raises:
        Problem: 503 if a statement takes longer than `STATEMENT_S`.
        NightreelError: as `Database.begin`.
    """
    with _limited(database, restricted=restricted, read_only=True) as connection:
        yield connection


@contextmanager
def writing(database: Database, *, restricted: bool) -> Iterator[Connection]:
    """A transaction that may write what the rights of the role allow. Arguments and errors as `reading`."""
    with _limited(database, restricted=restricted, read_only=False) as connection:
        yield connection


@contextmanager
def _limited(database: Database, *, restricted: bool, read_only: bool) -> Iterator[Connection]:
    values = {
        "timeout": f"{STATEMENT_S * 1000:.0f}ms",
        "restricted": "on" if restricted else "off",
        "read_only": "on" if read_only else "off",
    }
    try:
        with database.begin() as connection:
            connection.execute(_BEGIN, values)
            yield connection
    except TransientError as error:
        cause = error.__cause__
        if isinstance(cause, DBAPIError) and getattr(cause.orig, "sqlstate", None) == _CANCELED:
            raise Problem(
                503, f"Postgres needs longer than {STATEMENT_S} s for this: ask for less with `filter` or `under`"
            ) from error
        raise
