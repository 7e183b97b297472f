"""The roles of the embedded Postgres, and who owns what: stated at a start, as the superuser.

`postgres` calls it. Only this module connects as the superuser, who could run programs of the system. The pipeline
connects as the worker, migrations as the owner, people as the analyst, the web service as the console. What each may do
in the tables is in sql/roles.sql.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Literal

import psycopg
from psycopg import sql

from nightreel.services.locking import locked, write_private

Role = Literal["nightreel", "nightreel_owner", "nightreel_worker", "nightreel_analyst", "nightreel_console"]
SUPERUSER: Role = "nightreel"  # the name that initdb gave it in older versions too: Postgres cannot demote it
OWNER: Role = "nightreel_owner"
WORKER: Role = "nightreel_worker"
ANALYST: Role = "nightreel_analyst"
CONSOLE: Role = "nightreel_console"

Connect = Callable[[Role, str], psycopg.Connection]
"""Connects as a role to a database, with autocommit."""

_LOCK_TIMEOUT_S = 120.0
_ROLES = (OWNER, WORKER, ANALYST, CONSOLE)
_CONNECTIONS = {ANALYST: 20, CONSOLE: 40}
"""Most connections at the same time; no limit for the others."""
# No object of another role can stand for one of Postgres in the statements of the superuser.
_SAFE = "SET search_path = pg_catalog, pg_temp; SET lock_timeout = '20s'"


def password_path(directory: Path, role: Role) -> Path:
    """The file with the password of a role."""
    return directory / ("password" if role == SUPERUSER else f"password.{role.removeprefix('nightreel_')}")


def are_stated(connect: Connect, database: str) -> bool:
    """Whether all roles can connect, have no more rights than they should, and the owner owns what it should.

    Raises:
        psycopg.OperationalError: the server takes no connections, or the database or a role does not exist.
    """
    for role in (OWNER, ANALYST, CONSOLE):
        with connect(role, database):
            pass
    with connect(WORKER, database) as connection:
        row = connection.execute(_statement("roles_are_stated")).fetchone()
        return bool(row and row[0])


def state(connect: Connect, database: str, directory: Path) -> None:
    """Make the database and the roles, give the roles their passwords, and the owner what is its own.

    Args:
        directory: of the password files. Missing ones are made.

    Raises:
        psycopg.Error: the server takes no connections, or a statement fails.
        TransientError("service_locked"): another command has been at it for two minutes.
    """
    with locked(directory / "roles", timeout_s=_LOCK_TIMEOUT_S):
        with connect(SUPERUSER, "postgres") as connection:
            connection.execute(_SAFE)
            for role in _ROLES:
                _state_role(connection, role, password_path(directory, role))
            connection.execute(_statement("role_settings"))
            connection.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(OWNER))
                )
            connection.execute(
                sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(database), sql.Identifier(OWNER))
            )
        with connect(SUPERUSER, database) as connection:
            connection.execute(_SAFE)
            with connection.transaction():
                connection.execute(_statement("hand_over"))
                connection.execute(_statement("close_public"))


def _state_role(connection: psycopg.Connection, role: Role, path: Path) -> None:
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24))
    name = sql.Identifier(role)
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
        connection.execute(sql.SQL("CREATE ROLE {}").format(name))
    # Its hash, not the password: the log of the server holds a statement that fails.
    password = connection.pgconn.encrypt_password(path.read_bytes(), role.encode(), b"scram-sha-256").decode()
    connection.execute(
        sql.SQL(
            "ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS VALID UNTIL 'infinity' "
            "CONNECTION LIMIT {} PASSWORD {}"
        ).format(name, sql.Literal(_CONNECTIONS.get(role, -1)), sql.Literal(password))
    )
    connection.execute(sql.SQL("ALTER ROLE {} RESET ALL").format(name))
    granted = connection.execute(
        "SELECT roleid::regrole::text FROM pg_auth_members WHERE member = %s::regrole", [role]
    ).fetchall()
    for (other,) in granted:
        connection.execute(sql.SQL(f"REVOKE {other} FROM {{}} CASCADE").format(name))


def _statement(name: str) -> str:
    return (files(__package__) / f"{name}.sql").read_text(encoding="utf-8")
