"""Puts videos that failed for a passing reason back to pending, at growing intervals from an hour on."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sqlalchemy import Connection, select

from nightreel.database import schema
from nightreel.database.recipes import read_recipe
from nightreel.database.statements import statement
from nightreel.errors import PermanentError

FIRST_WAIT_S = 3600.0
"""Time from a failure until its first retry; it doubles with each retry."""
LONGEST_WAIT_S = 86_400.0
"""The longest time until the next retry."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReopenedWork:
    """Videos of one source to retry under one recipe."""

    recipe_id: int
    source: str
    videos: int


def askable_recipes(connection: Connection, model_hash: str) -> list[int]:
    """All recipes of a model, except those whose prompts this version words differently."""
    recipes, models = schema.recipes, schema.models
    query = select(recipes.c.id).join(models, models.c.id == recipes.c.model_id).where(models.c.hash == model_hash)
    found = []
    for recipe_id in connection.execute(query.order_by(recipes.c.id)).scalars().all():
        try:
            read_recipe(connection, recipe_id)
            found.append(recipe_id)
        except PermanentError as error:
            logger.info("failed videos under recipe %d are not retried: %s", recipe_id, error)
    return found


def reopen_transient(connection: Connection, *, recipe_ids: list[int], max_reopened: int, most: int) -> int:
    """Put up to `most` quarantined videos back that were put back fewer than `max_reopened` times. Returns how many."""
    parameters = {
        "recipe_ids": recipe_ids,
        "max_reopened": max_reopened,
        "most": most,
        "first_wait_s": FIRST_WAIT_S,
        "longest_wait_s": LONGEST_WAIT_S,
    }
    return connection.execute(statement("reopen_transient"), parameters).rowcount


def reopened_work(connection: Connection, *, recipe_ids: list[int], most: int) -> list[ReopenedWork]:
    """Up to `most` videos that were put back and are still pending."""
    rows = connection.execute(statement("reopened"), {"recipe_ids": recipe_ids, "most": most})
    return [ReopenedWork(recipe_id=row.recipe_id, source=row.source, videos=row.videos) for row in rows]
