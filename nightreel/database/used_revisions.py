"""Which commits of hub models and adapters runs used, so that later runs use the same ones."""

from __future__ import annotations

from sqlalchemy import Connection, Text, bindparam, select

from nightreel.database import schema
from nightreel.database.statements import statement


def last_used_commit(
    connection: Connection, repository: str, revision: str | None, *, is_adapter: bool = False
) -> str | None:
    """The commit in the last run whose settings had this repository and this branch, tag or open revision."""
    query = statement("used_revision").bindparams(bindparam("revision", type_=Text))
    parameters = {"repository": repository, "revision": revision, "is_adapter": is_adapter}
    found: str | None = connection.execute(query, parameters).scalar()
    return found


def commits_of_recipe(connection: Connection, recipe_id: int) -> dict[str, str]:
    """The revisions of the model and of the adapter of a recipe, by their names; empty if there is no such recipe."""
    recipes, models = schema.recipes, schema.models
    query = select(models.c.name, models.c.revision, models.c.spec)
    row = connection.execute(
        query.join(recipes, recipes.c.model_id == models.c.id).where(recipes.c.id == recipe_id)
    ).first()
    if row is None:
        return {}
    adapter = {row.spec["adapter"]: row.spec["adapter_revision"]} if row.spec.get("adapter") else {}
    return {row.name: row.revision} | adapter
