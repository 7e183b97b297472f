"""Retry: reopen videos whose failures may be transient. A flow calls this first, then runs the reopened work."""

from __future__ import annotations

from sqlalchemy import Connection

from nightreel.database.retries import ReopenedWork, askable_recipes, reopen_transient, reopened_work
from nightreel.models.loading import describe_model
from nightreel.settings import load_settings
from nightreel.stages.database import open_database
from nightreel.stages.used_revisions import used_revisions


def reopen_failed(*, limit: int, max_reopened: int) -> list[ReopenedWork]:
    """Reopen due failures under the model of the settings; returns the reopened work that is not finished.

    Args:
        limit: most videos to reopen, and most to return.
        max_reopened: how often a video is reopened before it stays failed.

    Raises:
        NightreelError: as `describe_model` and `open_database`.
    """
    settings = load_settings()
    with open_database(settings) as database:
        with database.begin() as connection:
            used = used_revisions(connection, settings)
        model_hash = describe_model(settings, used=used).hash  # may ask the hub: outside of a transaction
        with database.begin() as connection:
            return _reopen(connection, model_hash, limit=limit, max_reopened=max_reopened)


def _reopen(connection: Connection, model_hash: str, *, limit: int, max_reopened: int) -> list[ReopenedWork]:
    recipe_ids = askable_recipes(connection, model_hash)
    reopen_transient(connection, recipe_ids=recipe_ids, max_reopened=max_reopened, most=limit)
    return reopened_work(connection, recipe_ids=recipe_ids, most=limit)
