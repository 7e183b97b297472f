"""The commits of hub models that a run must use, because runs before it did."""

from __future__ import annotations

from sqlalchemy import Connection

from nightreel.database.used_revisions import commits_of_recipe, last_used_commit
from nightreel.database.vectors import used_commit_of_encoder
from nightreel.models.checkpoints.revisions import key
from nightreel.settings import Settings


def used_revisions(connection: Connection, settings: Settings, *, recipe_id: int | None = None) -> dict[str, str]:
    """The commits by which earlier runs knew the models and the adapter of the settings, by `revisions.key`.

    Args:
        recipe_id: of the run, if it continues an earlier one: its commits are used.
    """
    of_recipe = {} if recipe_id is None else commits_of_recipe(connection, recipe_id)
    named = (
        (settings.checkpoint, settings.model_revision, False),
        (settings.adapter, settings.adapter_revision, True),
    )
    found = {}
    for repository, revision, is_adapter in named:
        if repository is not None:
            commit = of_recipe.get(repository) or last_used_commit(
                connection, repository, revision, is_adapter=is_adapter
            )
            if commit is not None:
                found[key(repository, revision)] = commit
    if settings.encoder is not None and settings.embedding_model_revision is None:
        commit = used_commit_of_encoder(connection, settings.encoder)
        if commit is not None:
            found[key(settings.encoder, None)] = commit
    return found
