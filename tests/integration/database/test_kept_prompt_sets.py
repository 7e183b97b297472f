"""A database that was asked the old `moderation` keeps asking it after an upgrade: the same questions and policies."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from nightreel.database.migrations import upgrade
from nightreel.database.prompt_sets import forget_meaning, kept_meanings
from nightreel.database.recipes import register_recipe
from nightreel.domain import SamplingPlan
from nightreel.prompts.loading import load_prompt_sets

_PLAN = SamplingPlan.parse("uniform:8")


@pytest.fixture
def database(empty_0011):
    """A database with the prompts that the version before registered for `moderation`, upgraded."""
    with empty_0011.begin() as connection:
        asked = []
        for prompt in load_prompt_sets(["moderation_2026"]).prompts:
            question = prompt.question
            doubtful = question.kind == "yes_no"
            definition = {
                **question.to_json(),
                "name": prompt.name,
                "set_name": "moderation",
                "threshold": 0.5,
                "min_margin": 0.1 if doubtful else 0.0,
                "min_mass": 0.0,
            }
            del definition["language"]
            connection.execute(
                text(
                    "INSERT INTO nightreel.prompts (hash, name, set_name, kind, text, choices, flag, definition) "
                    "VALUES (:name, :name, 'moderation', :kind, :text, :choices, :flag, CAST(:definition AS jsonb))"
                ),
                {
                    "name": prompt.name,
                    "kind": question.kind,
                    "text": question.text,
                    "choices": list(question.choices),
                    "flag": "yes" if doubtful else None,
                    "definition": json.dumps(definition),
                },
            )
            when = dict(prompt.policy.when)
            asked.append({"name": prompt.name, "set": "moderation", "hash": prompt.name, "when": when})
        connection.execute(
            text("INSERT INTO nightreel.models (hash, name, revision, spec) VALUES ('m', 'm', '1', '{}')")
        )
        connection.execute(
            text(
                "INSERT INTO nightreel.recipes (hash, model_id, plan_hash, plan, window_s, prompts) "
                "VALUES ('r', 1, :plan, 'uniform:8', 30, CAST(:prompts AS jsonb))"
            ),
            {"plan": _PLAN.hash, "prompts": json.dumps(asked)},
        )
        connection.execute(
            text(
                "INSERT INTO nightreel.runs (source, recipe_id, options, settings, environment) "
                "VALUES ('s3://bucket', 1, '{}', '{}', '{}')"
            )
        )
    upgrade(empty_0011.engine)
    return empty_0011


def test_the_old_set_is_asked_under_its_old_name_and_nothing_is_new(database):
    with database.begin() as connection:
        names = kept_meanings(connection, ["tagging", "moderation", "mine.yaml"])
        assert names == ["tagging", "moderation_2026", "mine.yaml"], "only what this database was asked is kept"
        recipe = register_recipe(
            connection,
            model_hash="m",
            model_spec={"name": "m", "revision": "1"},
            plan=_PLAN,
            prompts=load_prompt_sets(["moderation_2026"]),
        )
        assert recipe.id == 1, "the recipe of the version before"
        policies = connection.execute(text("SELECT origin FROM nightreel.policies")).scalars().all()
    assert policies == ["upgrade"] * 5


def test_the_new_set_is_adopted_by_name(database):
    with database.begin() as connection:
        assert forget_meaning(connection, "moderation")
        assert kept_meanings(connection, ["moderation"]) == ["moderation"]
        assert not forget_meaning(connection, "moderation")
