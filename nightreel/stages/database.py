"""The database of a run or a command: the configured Postgres, or the embedded one, with the tables of this version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from nightreel.database.connection import Database
from nightreel.database.migrations import require_current, upgrade
from nightreel.database.requirements import require_rights
from nightreel.errors import SettingsError
from nightreel.services import configured, open_services, running_database
from nightreel.services.postgres_roles import CONSOLE
from nightreel.settings import Settings
from nightreel.stages.index import index_documents
from nightreel.stages.rejudge import OnProgress, apply_changes
from nightreel.stages.show import show_current
from nightreel.stages.sort import start_queues


@contextmanager
def open_database(settings: Settings, *, to_write: bool = False) -> Iterator[Database]:
    """Open the configured Postgres, or the embedded one for the block.

    Args:
        to_write: check that the user has all rights, so that no work is done that cannot be stored.

    Raises:
        PermanentError: `database_schema`: a configured database needs `nightreel db upgrade`. `database_refused`.
    """
    with open_services(settings, prefect=False) as endpoints:
        if settings.database_url is None:
            upgrade_database(endpoints.owner_url, console_url=settings.console_url, only_changed=True)
        database = Database(endpoints.database_url)
        try:
            with database.translated():
                require_current(database.engine)
            if to_write:
                with database.begin() as connection:
                    require_rights(connection)
            yield database
        finally:
            database.close()


def require_console_url(settings: Settings) -> None:
    """Refuse a configured database without a URL for the role of the web service.

    Raises:
        SettingsError: NIGHTREEL_DATABASE_CONSOLE_URL is missing.
    """
    if settings.database_url is not None and settings.database_console_url is None:
        raise SettingsError(
            "NIGHTREEL_DATABASE_URL is set, NIGHTREEL_DATABASE_CONSOLE_URL is not: set it to the URL of the same "
            f"database for the role {CONSOLE}, which `nightreel db roles` shows"
        )


@contextmanager
def open_console_database(settings: Settings) -> Iterator[Database]:
    """Open the same Postgres for the web service, as the role nightreel_console: it reads views.

    A configured one needs no other URL than NIGHTREEL_DATABASE_CONSOLE_URL, so the service has no right to write.

    Raises:
        SettingsError: as `require_console_url`.
        PermanentError, TransientError: as `open_database`.
    """
    require_console_url(settings)
    if settings.database_console_url is not None:
        url = configured.database_url(settings.database_console_url).render_as_string(hide_password=False)
        with closing(Database(url)) as database:
            with database.translated():
                require_current(database.engine)
            yield database
        return
    with open_database(settings):  # keeps the embedded one running, with the tables of this version
        found = running_database(settings, role=CONSOLE)
        assert found is not None, "it was just opened"
        with closing(Database(found.render_as_string(hide_password=False))) as database:
            yield database


def upgrade_database(
    owner_url: str,
    *,
    console_url: str | None = None,
    only_changed: bool = False,
    on_progress: OnProgress = lambda *_: None,
) -> tuple[str | None, str]:
    """Bring tables and views to this version, with verdicts and cases. Returns the revisions before and after.

    Args:
        owner_url: of the user that owns the tables.
        console_url, only_changed: as `upgrade`.
    """
    owner = Database(owner_url)
    try:
        with owner.translated():
            before, after = upgrade(owner.engine, console_url=console_url, only_changed=only_changed)
        if before != after:
            apply_changes(owner, on_progress=on_progress)
            show_current(owner)
        index_documents(owner)
        start_queues(owner)
        return before, after
    finally:
        owner.close()
