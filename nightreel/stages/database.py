"""The database of a run or a command: the configured Postgres, or the embedded one, with the tables of this version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nightreel.database.connection import Database
from nightreel.database.migrations import require_current, upgrade
from nightreel.services import open_services
from nightreel.settings import Settings


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """Open the configured Postgres, or the embedded one for the block.

    Raises:
        PermanentError: `database_schema`: a configured database needs `nightreel db upgrade`.
    """
    with open_services(settings, prefect=False) as endpoints:
        database = Database(endpoints.database_url)
        try:
            with database.translated():
                if settings.database_url is None:
                    upgrade(database.engine)
                else:
                    require_current(database.engine)
            yield database
        finally:
            database.close()
