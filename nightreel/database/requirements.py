"""What Nightreel needs of a Postgres server, of its settings and of a user's rights, checked before anything is done.

`services` checks the server at the start of each command, `stages` the rights before a run or a backfill, `doctor`
both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from sqlalchemy import Connection, text

from nightreel.database import schema
from nightreel.errors import PermanentError
from nightreel.reasons import Reason

_READING = ("SELECT",)
_ADDING = ("SELECT", "INSERT")
_WRITING = ("SELECT", "INSERT", "UPDATE", "DELETE")
OLDEST_VERSION = 15
"""The oldest major version that the PostgreSQL project still maintains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server says of itself and of a new session.

    Args:
        version: as it names itself, such as "PostgreSQL 18.0 on x86_64". major: 18.
        standby: it follows another server. read_only: new transactions may not write.
    """

    version: str
    major: int
    encoding: str
    standby: bool
    read_only: bool
    date_style: str


def read_facts(connection: psycopg.Connection) -> ServerFacts:
    """Ask a server. Two statements in one transaction: a pooler in statement mode refuses the transaction."""
    connection.execute("SELECT 1")
    row = connection.execute(
        "SELECT version(), current_setting('server_version_num')::integer / 10000, current_setting('server_encoding'),"
        " pg_is_in_recovery(), current_setting('transaction_read_only') = 'on', current_setting('DateStyle')"
    ).fetchone()
    assert row is not None
    version, major, encoding, standby, read_only, date_style = row
    return ServerFacts(
        version=version, major=major, encoding=encoding, standby=standby, read_only=read_only, date_style=date_style
    )


def why_unsuitable(facts: ServerFacts) -> str | None:
    """Why a server cannot be used, and what to do; None if it can."""
    if not facts.version.startswith(("PostgreSQL ", "EnterpriseDB ")):
        return f"it is {facts.version[:40]!r}: use PostgreSQL {OLDEST_VERSION} or newer"
    if facts.major < OLDEST_VERSION:
        return f"it is PostgreSQL {facts.major}: use PostgreSQL {OLDEST_VERSION} or newer"
    if facts.encoding != "UTF8":
        return (
            f"the database has the encoding {facts.encoding}, which cannot hold all file names and answers: make "
            "another with CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0"
        )
    if facts.standby:
        return "it is a standby, which takes no writes: name the primary, or all hosts as host1:port,host2:port"
    if facts.read_only:
        return (
            "default_transaction_read_only is on for this user, database or server, and Nightreel writes: turn it off, "
            "for example with ALTER ROLE ... SET default_transaction_read_only = off"
        )
    if not facts.date_style.startswith("ISO"):
        return (
            f"DateStyle is {facts.date_style!r} for this user, database or server: set it to ISO, for example with "
            "ALTER ROLE ... SET DateStyle = 'ISO'"
        )
    return None


def require_rights(connection: Connection) -> None:
    """Raise unless this user may read and write all tables, and make the temporary tables of a backfill's plan.

    Raises:
        PermanentError: `database_refused`, with the statements that give the missing rights.
    """
    tables = schema.metadata.sorted_tables
    needed = {
        _READING: [table.name for table in tables if table in schema.ONLY_ERASE_WRITES],
        _ADDING: [table.name for table in tables if table in schema.ADDED_TO],
        _WRITING: [table.name for table in tables if table not in (*schema.ADDED_TO, *schema.ONLY_ERASE_WRITES)],
    }
    user, database, temporary = connection.execute(
        text(
            "SELECT quote_ident(current_user), quote_ident(current_database()),"
            " has_database_privilege(current_database(), 'TEMPORARY')"
        )
    ).one()
    grants = []
    for rights, names in needed.items():
        if missing := _without(connection, names, rights):
            what, which = ", ".join(rights), ", ".join(f"nightreel.{name}" for name in missing)
            grants.append(f"GRANT {what} ON {which} TO {user}")
    if not temporary:
        grants.append(f"GRANT TEMPORARY ON DATABASE {database} TO {user}")
    if grants:
        raise PermanentError(
            Reason.DATABASE_REFUSED, f"the user {user} lacks rights in the database {database}: run {'; '.join(grants)}"
        )


def _without(connection: Connection, names: Sequence[str], rights: Sequence[str]) -> list[str]:
    """The tables on which this user lacks one of these rights."""
    query = text(
        "SELECT name FROM unnest(CAST(:names AS text[])) AS name"
        " WHERE NOT (SELECT bool_and(has_table_privilege(format('nightreel.%I', name), needed))"
        " FROM unnest(CAST(:rights AS text[])) AS needed) ORDER BY name"
    )
    return list(connection.execute(query, {"names": list(names), "rights": list(rights)}).scalars())
