"""A recipe read back equals the registered recipe, so a backfill or a retry asks the same questions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.work import PROMPTS, register
from sqlalchemy import text

from nightreel.database.recipes import read_recipe
from nightreel.domain import Band, GenerationOptions, Prompt, PromptKind, PromptSet
from nightreel.errors import PermanentError
from nightreel.prompts.loading import load_prompt_sets, shipped_sets


@pytest.mark.parametrize(
    "prompts",
    [
        PROMPTS,
        *(load_prompt_sets([name]) for name in shipped_sets()),
        load_prompt_sets(["tagging", "moderation"]),
        PromptSet(
            "odd",
            (
                Prompt.of(name="n", kind=PromptKind.NUMBER, text="How many?", minimum=0, maximum=9, set_name="odd"),
                Prompt.of(
                    name="t",
                    kind=PromptKind.TEXT,
                    text="'; --\n日本",
                    decoding=GenerationOptions(temperature=0.5, top_k=3, seed=7),
                    set_name="odd",
                ),
                Prompt.of(
                    name="c", kind=PromptKind.CHOICE, text="Which?", choices=("a", "b"), flags=("b",), set_name="odd"
                ),
            ),
        ),
    ],
    ids=lambda prompts: prompts.name,
)
def test_a_recipe_is_read_back_as_it_was_registered(database, prompts):
    registered = register(database, prompts)
    with database.begin() as connection:
        recipe, model = read_recipe(connection, registered.id)
    assert recipe == registered
    assert (model.hash, model.name) == ("a" * 64, "tiny")


def test_prompts_keep_their_names_in_a_recipe(database):
    first = register(
        database, PromptSet("one", (Prompt.of(name="a", kind=PromptKind.TEXT, text="Why?", set_name="one"),))
    )
    register(database, PromptSet("two", (Prompt.of(name="b", kind=PromptKind.TEXT, text="Why?", set_name="two"),)))
    with database.begin() as connection:
        recipe, _ = read_recipe(connection, first.id)
    assert [(prompt.name, prompt.set_name) for prompt in recipe.prompts.prompts] == [("a", "one")]


def test_two_prompts_may_ask_one_question(database):
    why = Prompt.of(name="a", kind=PromptKind.YES_NO, text="Why?", flags=("yes",), set_name="one")
    strict = replace(why, name="b", policy=replace(why.policy, band=Band(0.9, 0.9)))
    both = register(database, PromptSet("one", (why, strict)))
    assert len(both.prompt_ids) == 2
    assert len(both.question_ids) == 1


def test_policy_is_no_part_of_a_recipe_and_names_are(database):
    why = Prompt.of(name="a", kind=PromptKind.YES_NO, text="Why?", set_name="one")
    first = register(database, PromptSet("one", (why,)))
    strict = replace(why, policy=replace(why.policy, band=Band(0.9, 0.9), when=()))
    assert register(database, PromptSet("one", (strict,))).id == first.id
    assert register(database, PromptSet("one", (replace(why, name="b"),))).id != first.id


def test_a_recipe_whose_prompts_are_worded_differently_is_refused(database):
    registered = register(database)
    with database.begin() as connection:
        connection.execute(
            text("UPDATE nightreel.questions SET definition = jsonb_set(definition, '{text}', '\"Else?\"')")
        )
    with database.begin() as connection, pytest.raises(PermanentError, match=r"stale_recipe.*'caption'"):
        read_recipe(connection, registered.id)
    with database.begin() as connection, pytest.raises(PermanentError, match=r"no_such_recipe.*99"):
        read_recipe(connection, 99)
