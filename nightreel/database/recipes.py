"""Recipes: the model, sampling plan and prompts of a run. Registered once, and found again by their content."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema
from nightreel.domain import GenerationOptions, Prompt, PromptKind, PromptSet, SamplingPlan, content_hash
from nightreel.errors import PermanentError
from nightreel.reasons import Reason

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A model, a sampling plan and a prompt set, with the ids of their rows.

    Args:
        prompt_ids: id of the row in `prompts`, by prompt hash.
    """

    id: int
    model_id: int
    plan: SamplingPlan
    prompts: PromptSet
    prompt_ids: Mapping[str, int]


def register_recipe(
    connection: Connection, *, model_hash: str, model_spec: Mapping[str, Any], plan: SamplingPlan, prompts: PromptSet
) -> Recipe:
    """Find or add the rows of a recipe.

    Args:
        model_spec: JSON values; `name` and `revision` are read.
    """
    model_id = _find_or_add(
        connection,
        schema.models,
        {"hash": model_hash, "name": model_spec["name"], "revision": model_spec["revision"], "spec": dict(model_spec)},
    )
    prompt_ids = {}
    for prompt in prompts.prompts:
        row = {
            "hash": prompt.hash,
            "name": prompt.name,
            "set_name": prompt.set_name,
            "kind": prompt.kind,
            "text": prompt.text,
            "choices": list(prompt.choices),
            "flag": prompt.flag,
            "definition": asdict(prompt),
        }
        _warn_about_new_name(connection, prompt)
        prompt_ids[prompt.hash] = _find_or_add(connection, schema.prompts, row, latest=("name", "set_name", "flag"))
    # A condition decides which answers are wanted, so it belongs to the recipe, but not to the prompt.
    asked = sorted((prompt.hash, _condition(prompts, prompt.when)) for prompt in prompts.prompts)
    recipe_id = _find_or_add(
        connection,
        schema.recipes,
        {
            "hash": content_hash({"model": model_hash, "plan": plan.hash, "prompts": asked}),
            "model_id": model_id,
            "plan_hash": plan.hash,
            "plan": str(plan),
            "window_s": plan.window_s,
            "prompts": [
                {"name": p.name, "set": p.set_name, "hash": p.hash, "when": dict(p.when)} for p in prompts.prompts
            ],
        },
    )
    return Recipe(id=recipe_id, model_id=model_id, plan=plan, prompts=prompts, prompt_ids=prompt_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A row of `models`."""

    hash: str
    name: str
    revision: str


def read_recipe(connection: Connection, recipe_id: int) -> tuple[Recipe, KnownModel]:
    """A registered recipe and its model.

    Raises:
        PermanentError: `no_such_recipe`; `stale_recipe` if this version words its prompts differently, or if two of
            them ask the same question.
    """
    recipes, models, prompts = schema.recipes, schema.models, schema.prompts
    row = connection.execute(
        select(recipes, models.c.hash.label("model_hash"), models.c.name, models.c.revision)
        .join(models, models.c.id == recipes.c.model_id)
        .where(recipes.c.id == recipe_id)
    ).first()
    if row is None:
        raise PermanentError(Reason.NO_SUCH_RECIPE, f"there is no recipe {recipe_id} in nightreel.recipes")
    known = {
        item.hash: item
        for item in connection.execute(select(prompts).where(prompts.c.hash.in_([one["hash"] for one in row.prompts])))
    }
    asked = tuple(_prompt(one, known[one["hash"]]) for one in row.prompts)
    stale = [prompt.name for prompt, one in zip(asked, row.prompts, strict=True) if prompt.hash != one["hash"]]
    if stale:
        raise PermanentError(
            Reason.STALE_RECIPE,
            f"recipe {recipe_id} was made by a version that words prompt {stale[0]!r} differently: start again with "
            "the prompt sets of this version",
        )
    if len({prompt.hash for prompt in asked}) < len(asked):
        raise PermanentError(
            Reason.STALE_RECIPE,
            f"recipe {recipe_id} was made by a version that let two prompts ask the same question: start again with "
            "prompt sets in which each question has one name",
        )
    names = "+".join(dict.fromkeys(prompt.set_name for prompt in asked))
    recipe = Recipe(
        id=row.id,
        model_id=row.model_id,
        plan=SamplingPlan.parse(row.plan, row.window_s),
        prompts=PromptSet(names, asked),
        prompt_ids={key: item.id for key, item in known.items()},
    )
    return recipe, KnownModel(hash=row.model_hash, name=row.name, revision=row.revision)


def _prompt(asked: Mapping[str, Any], known: Any) -> Prompt:
    """A prompt with the name and condition that it has in a recipe."""
    values = dict(known.definition)
    values |= {
        "name": asked["name"],
        "set_name": asked["set"],
        "when": tuple(asked["when"].items()),
        "kind": PromptKind(values["kind"]),
        "choices": tuple(values["choices"]),
        "decoding": GenerationOptions(**values["decoding"]),
        "flag": known.flag,
    }
    return Prompt(**values)


def _warn_about_new_name(connection: Connection, prompt: Prompt) -> None:
    """Log that answers which exist under another name move to this one, with its flag."""
    table = schema.prompts
    known = connection.execute(select(table.c.set_name, table.c.name).where(table.c.hash == prompt.hash)).first()
    if known is not None and (known.set_name, known.name) != (prompt.set_name, prompt.name):
        logger.warning(
            "prompt %r of set %r asks the question of prompt %r of set %r: all its answers are now shown under the new "
            "name, with flag %r; to keep both names, change the text of one",
            prompt.name,
            prompt.set_name,
            known.name,
            known.set_name,
            prompt.flag,
        )


def _condition(prompts: PromptSet, when: tuple[tuple[str, str], ...]) -> list[list[str]]:
    hashes = {prompt.name: prompt.hash for prompt in prompts.prompts}
    return sorted([hashes[name], answer] for name, answer in when)


def _find_or_add(connection: Connection, table: Table, row: dict[str, Any], *, latest: tuple[str, ...] = ()) -> int:
    """The id of the row with this hash. Columns in `latest` are updated if they differ."""
    known = connection.execute(
        select(table.c.id, *(table.c[name] for name in latest)).where(table.c.hash == row["hash"])
    ).first()
    if known is None:
        added = connection.execute(
            insert(table).values(**row).on_conflict_do_nothing(index_elements=["hash"]).returning(table.c.id)
        ).scalar()
        # Another run may have added it between the two statements: then it exists now.
        return int(added or connection.execute(select(table.c.id).where(table.c.hash == row["hash"])).scalar_one())
    changed = {name: row[name] for name in latest if getattr(known, name) != row[name]}
    if changed:
        connection.execute(table.update().where(table.c.id == known.id).values(**changed))
    return int(known.id)
