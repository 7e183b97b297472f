"""Recipes: the model, sampling plan and prompts of a run. Registered once, and found again by their content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema
from nightreel.database.policies import InForce, policies_in_force, register_policy
from nightreel.domain import Level, Prompt, PromptSet, Question, SamplingPlan, content_hash
from nightreel.errors import PermanentError
from nightreel.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A model, a sampling plan and a prompt set, with the ids of their rows.

    Args:
        prompts: with the policies that were in force when it was read.
        prompt_ids: id of the row in `prompts`, by prompt name.
        question_ids: id of the row in `questions`, by question hash.
    """

    id: int
    model_id: int
    plan: SamplingPlan
    prompts: PromptSet
    prompt_ids: Mapping[str, int]
    question_ids: Mapping[str, int]

    @property
    def segment_question_ids(self) -> list[int]:
        """The ids of the questions about segments."""
        hashes = {prompt.question.hash for prompt in self.prompts.prompts if prompt.question.level is Level.SEGMENT}
        return sorted(self.question_ids[key] for key in hashes)

    def under(self, policies: Mapping[int, InForce]) -> PromptSet:
        """Its prompts with these policies, by prompt id."""
        prompts = tuple(
            replace(prompt, policy=policies[self.prompt_ids[prompt.name]].policy) for prompt in self.prompts.prompts
        )
        return PromptSet(self.prompts.name, prompts)


def register_recipe(
    connection: Connection,
    *,
    model_hash: str,
    model_spec: Mapping[str, Any],
    plan: SamplingPlan,
    prompts: PromptSet,
    made_by: str = "a run",
) -> Recipe:
    """Find or add the rows of a recipe, and bring changed policies of its prompts into force.

    Args:
        model_spec: JSON values; `name` and `revision` are read.
        made_by: who changed the policies.
    """
    model_id = _find_or_add(
        connection,
        schema.models,
        {"hash": model_hash, "name": model_spec["name"], "revision": model_spec["revision"], "spec": dict(model_spec)},
    )
    question_ids: dict[str, int] = {}
    prompt_ids: dict[str, int] = {}
    for prompt in prompts.prompts:
        question_id = question_ids[prompt.question.hash] = register_question(connection, prompt.question)
        prompt_ids[prompt.name] = register_policy(connection, prompt, question_id=question_id, made_by=made_by)
    asked = sorted([prompt.set_name, prompt.name, prompt.question.hash] for prompt in prompts.prompts)
    recipe_id = _find_or_add(
        connection,
        schema.recipes,
        {
            "hash": content_hash({"model": model_hash, "plan": plan.hash, "prompts": asked}),
            "model_id": model_id,
            "plan_hash": plan.hash,
            "plan": str(plan),
            "window_s": plan.window_s,
        },
    )
    connection.execute(
        insert(schema.recipe_prompts).on_conflict_do_nothing(),
        [
            {
                "recipe_id": recipe_id,
                "place": place,
                "prompt_id": prompt_ids[prompt.name],
                "question_id": question_ids[prompt.question.hash],
            }
            for place, prompt in enumerate(prompts.prompts)
        ],
    )
    recipe = Recipe(
        id=recipe_id,
        model_id=model_id,
        plan=plan,
        prompts=prompts,
        prompt_ids=prompt_ids,
        question_ids=question_ids,
    )
    return replace(recipe, prompts=recipe.under(policies_in_force(connection, prompt_ids.values())))


def register_question(connection: Connection, question: Question) -> int:
    """The id of the row of a question, which is added if it is new."""
    row = {
        "hash": question.hash,
        "kind": question.kind,
        "text": question.text,
        "choices": list(question.choices),
        "definition": question.to_json(),
    }
    return _find_or_add(connection, schema.questions, row)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A row of `models`."""

    hash: str
    name: str
    revision: str


def read_recipe(connection: Connection, recipe_id: int) -> tuple[Recipe, KnownModel]:
    """A registered recipe, with the policies in force, and its model.

    Raises:
        PermanentError: `no_such_recipe`; `stale_recipe` if this version words its questions differently.
    """
    recipes, models = schema.recipes, schema.models
    row = connection.execute(
        select(recipes, models.c.hash.label("model_hash"), models.c.name, models.c.revision)
        .join(models, models.c.id == recipes.c.model_id)
        .where(recipes.c.id == recipe_id)
    ).first()
    if row is None:
        raise PermanentError(Reason.NO_SUCH_RECIPE, f"there is no recipe {recipe_id} in nightreel.recipes")
    asked, prompts, questions = schema.recipe_prompts, schema.prompts, schema.questions
    rows = connection.execute(
        select(asked.c.prompt_id, asked.c.question_id, prompts.c.name, prompts.c.set_name, questions)
        .join(prompts, prompts.c.id == asked.c.prompt_id)
        .join(questions, questions.c.id == asked.c.question_id)
        .where(asked.c.recipe_id == recipe_id)
        .order_by(asked.c.place)
    ).all()
    policies = policies_in_force(connection, [one.prompt_id for one in rows])
    found = tuple(
        Prompt(
            name=one.name,
            set_name=one.set_name,
            question=Question.from_json(one.definition),
            policy=policies[one.prompt_id].policy,
        )
        for one in rows
    )
    stale = [prompt.name for prompt, one in zip(found, rows, strict=True) if prompt.question.hash != one.hash]
    if stale:
        raise PermanentError(
            Reason.STALE_RECIPE,
            f"recipe {recipe_id} was made by a version that words prompt {stale[0]!r} differently: start again with "
            "the prompt sets of this version",
        )
    recipe = Recipe(
        id=row.id,
        model_id=row.model_id,
        plan=SamplingPlan.parse(row.plan, row.window_s),
        prompts=PromptSet("+".join(dict.fromkeys(prompt.set_name for prompt in found)), found),
        prompt_ids={one.name: one.prompt_id for one in rows},
        question_ids={one.hash: one.question_id for one in rows},
    )
    return recipe, KnownModel(hash=row.model_hash, name=row.name, revision=row.revision)


def _find_or_add(connection: Connection, table: Table, row: dict[str, Any]) -> int:
    """The id of the row with this hash."""
    known = select(table.c.id).where(table.c.hash == row["hash"])
    found = connection.execute(known).scalar()
    if found is None:
        added = insert(table).values(**row).on_conflict_do_nothing(index_elements=["hash"]).returning(table.c.id)
        # Another run may have added it between the two statements: then it exists now.
        found = connection.execute(added).scalar() or connection.execute(known).scalar_one()
    return int(found)
