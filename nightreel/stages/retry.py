"""Retry: what failed for a reason that may have passed is work again. A flow begins here, and runs it afterwards."""

from __future__ import annotations

from nightreel.database.retries import ReopenedWork, askable_recipes, reopen_transient, reopened_work
from nightreel.models.loading import describe_model
from nightreel.settings import load_settings
from nightreel.stages.database import open_database


def reopen_failed(*, limit: int, max_reopened: int) -> list[ReopenedWork]:
    """Put back what is due, of the model that the settings describe; returns what there is to be done now.

    Args:
        limit: videos that are put back, and of which is told, at most.
        max_reopened: how often a video is put back before it stays as it is.

    Raises:
        NightreelError: as `describe_model` and `open_database`.
    """
    settings = load_settings()
    model_hash = describe_model(settings).hash
    with open_database(settings) as database, database.begin() as connection:
        recipe_ids = askable_recipes(connection, model_hash)
        reopen_transient(connection, recipe_ids=recipe_ids, max_reopened=max_reopened, most=limit)
        return reopened_work(connection, recipe_ids=recipe_ids, most=limit)
