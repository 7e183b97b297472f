"""What the names of shipped prompt sets mean in the database that commands use, without starting or upgrading it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from nightreel.database.connection import Database
from nightreel.database.migrations import require_current
from nightreel.database.prompt_sets import RENAMED, kept_meanings
from nightreel.errors import NightreelError
from nightreel.services.endpoints import running_database
from nightreel.settings import Settings

_PATIENCE_S = 3  # for a database that does not respond: the command does without it


def meanings_here(settings: Settings, names: Sequence[str]) -> tuple[dict[str, str], str]:
    """What these names mean in the database, where that is another set; and why the database could not be asked."""
    renamed = [name for name in names if name in RENAMED]
    try:
        url = running_database(settings) if renamed else None
        if url is None:
            return {}, ""
        patient = url.update_query_dict({"connect_timeout": str(_PATIENCE_S)})
        with closing(Database(patient.render_as_string(hide_password=False))) as database:
            with database.translated():
                require_current(database.engine)
            with database.begin() as connection:
                meant = kept_meanings(connection, renamed)
    except NightreelError as error:
        return {}, error.detail
    return {name: means for name, means in zip(renamed, meant, strict=True) if means != name}, ""


def meant_sets(settings: Settings) -> tuple[str, ...]:
    """The prompt sets of the settings as a run would read them; by name if the database cannot be asked."""
    meanings, _ = meanings_here(settings, settings.prompt_sets)
    return tuple(meanings.get(name, name) for name in settings.prompt_sets)
