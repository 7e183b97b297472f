"""Models and recipes: what runs on which videos."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, ForeignKey, Integer, Table, Text, UniqueConstraint

from nightreel.database.schema.columns import created_column, id_column, json_column, metadata

# A model as it was loaded. `spec` is models.base.ModelSpec.
models = Table(
    "models",
    metadata,
    id_column(),
    Column("hash", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("revision", Text, nullable=False),
    json_column("spec", nullable=False),
    created_column(),
)

# A model, a sampling plan and prompts: what answers depend on. `recipe_prompts` has the prompts.
recipes = Table(
    "recipes",
    metadata,
    id_column(),
    Column("hash", Text, nullable=False, unique=True),
    Column("model_id", BigInteger, ForeignKey("nightreel.models.id"), nullable=False),
    Column("plan_hash", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("window_s", Double, nullable=False),
    created_column(),
)

# The prompts of a recipe in their order, with the questions that it asks.
recipe_prompts = Table(
    "recipe_prompts",
    metadata,
    Column("recipe_id", BigInteger, ForeignKey("nightreel.recipes.id"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("prompt_id", BigInteger, ForeignKey("nightreel.prompts.id"), nullable=False),
    Column("question_id", BigInteger, ForeignKey("nightreel.questions.id"), nullable=False),
    UniqueConstraint("recipe_id", "prompt_id"),
)

# The recipe whose answers are on show, for the videos below a source and the prompts of a set. `shown_up_to`: the id of
# the last video whose answers were chosen again since the row changed; null: all were.
current_recipes = Table(
    "current_recipes",
    metadata,
    Column("source", Text, primary_key=True),
    Column("set_name", Text, primary_key=True),
    Column("recipe_id", BigInteger, ForeignKey("nightreel.recipes.id"), nullable=False),
    Column("made_by", Text, nullable=False),
    created_column("since"),
    Column("shown_up_to", BigInteger),
)
