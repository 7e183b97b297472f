"""Brings a database to the tables and views of this version (`nightreel db upgrade`).

The Alembic migrations are in sql/migrations. The views are plain files in sql/views. An upgrade recreates them with
CREATE OR REPLACE, so that grants on them stay. A digest of them lets a command that finds the same views leave them.
sql/roles.sql has the rights of Nightreel's own roles.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from nightreel.database.wide_views import state_wide_views, wanted_wide_views
from nightreel.errors import PermanentError
from nightreel.reasons import Reason

_SITE = """
    UPDATE nightreel.site SET console_url = :url, stated = :digest
    WHERE (console_url, stated) IS DISTINCT FROM (:url, :digest)
"""
_UPGRADE_LOCK = 0x6E72_0001  # an arbitrary constant: one upgrade at a time


def upgrade(engine: Engine, *, console_url: str | None = None, only_changed: bool = False) -> tuple[str | None, str]:
    """Apply missing migrations, recreate the views and state the rights of roles, in one transaction.

    Args:
        engine: of the user that owns the tables.
        console_url: where people open the console; the views make links of it.
        only_changed: state the views only if they differ from those of the last upgrade. A view that was changed by
            hand in the database stays.

    Returns:
        The revisions before (None for an empty database) and after.
    """
    newest = _newest()
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
        before = _current(connection)
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS nightreel"))
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS reporting"))
        if before != newest:
            _migrate(connection)
        views = [path.read_text() for path in sorted((_sql_directory() / "views").glob("*.sql"), key=_place)]
        wide = wanted_wide_views(connection)
        digest = hashlib.sha256(repr((newest, views, wide)).encode()).hexdigest()
        if not only_changed or before != newest or digest != _stated(connection):
            for view in views:
                connection.exec_driver_sql(view)
            state_wide_views(connection, wide)
        _state_rights(connection)
        connection.execute(text(_SITE), {"url": console_url, "digest": digest})
    return before, newest


def state_rights(engine: Engine) -> None:
    """State the rights of roles on the tables and views of this version, as sql/roles.sql has them.

    Args:
        engine: of the user that owns the tables.

    Raises:
        PermanentError: `database_schema`: the database is of another revision.
    """
    require_current(engine)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
        _state_rights(connection)


def require_current(engine: Engine) -> None:
    """Raise unless the database has exactly the revision of this version.

    Raises:
        PermanentError: `database_schema`, with both revisions.
    """
    with engine.connect() as connection:
        found = _current(connection)
    wanted = _newest()
    if found != wanted:
        raise PermanentError(
            Reason.DATABASE_SCHEMA,
            f"the database is at revision {found or 'none'}, this version needs {wanted}: run `nightreel db upgrade`",
        )


def _place(path: Path) -> tuple[int, str]:
    """Files of views run in the order of their numbers, then of their names."""
    number, _, name = path.stem.partition("_")
    return int(number), name


def _state_rights(connection: Connection) -> None:
    connection.exec_driver_sql((_sql_directory() / "roles.sql").read_text())


def _stated(connection: Connection) -> str | None:
    """The digest of the views that the last upgrade stated."""
    found: str | None = connection.execute(text("SELECT stated FROM nightreel.site")).scalar()
    return found


def _current(connection: Connection) -> str | None:
    if connection.execute(text("SELECT to_regclass('nightreel.schema_version')")).scalar() is None:
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM nightreel.schema_version")).scalar()
    return found


def _newest() -> str:
    """The revision of this version: the names of migrations start with theirs."""
    return max(path.name.partition("_")[0] for path in (_migrations() / "versions").glob("*_*.py"))


def _migrate(connection: Connection) -> None:
    # Most commands find a database of this version, and Alembic takes a fifth of the time that they take to start.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _migrations() -> Path:
    return _sql_directory() / "migrations"


def _sql_directory() -> Path:
    """sql/ of the checkout, or the copy in the wheel."""
    package = Path(__file__).resolve().parent.parent
    for directory in (package / "sql", package.parent / "sql"):
        if (directory / "migrations").is_dir():
            return directory
    raise PermanentError(Reason.INSTALLATION, f"no sql/migrations beside {package}: install nightreel again")
