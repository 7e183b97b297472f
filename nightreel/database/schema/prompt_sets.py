"""Questions, the prompts that ask them, and the policies that judge their answers."""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Column, ForeignKey, Index, Table, Text, UniqueConstraint

from nightreel.database.schema.columns import created_column, id_column, json_column, metadata, time_column

# What a model is asked about a segment. `definition` is domain.Question.
questions = Table(
    "questions",
    metadata,
    id_column(),
    Column("hash", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("choices", ARRAY(Text), nullable=False),
    json_column("definition", nullable=False),
    created_column(),
)

# A prompt: set and name identify it. Its question and its policy are those in force.
prompts = Table(
    "prompts",
    metadata,
    id_column(),
    Column("set_name", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("question_id", BigInteger, ForeignKey("nightreel.questions.id"), nullable=False),
    Column("policy_id", BigInteger, ForeignKey("nightreel.policies.id", use_alter=True)),
    created_column(),
    UniqueConstraint("set_name", "name"),
)

# The policies of a prompt, one row for each time that one came into force. `definition` is domain.Policy. `progress`:
# how far the stored answers are judged by it (database.policies); `applied_at`: when all were.
policies = Table(
    "policies",
    metadata,
    id_column(),
    Column("prompt_id", BigInteger, ForeignKey("nightreel.prompts.id"), nullable=False),
    Column("hash", Text, nullable=False),
    json_column("definition", nullable=False),
    Column("origin", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    created_column("since"),
    json_column("progress"),
    time_column("applied_at"),
    CheckConstraint("origin IN ('file', 'applied', 'upgrade')", name="origin"),
    Index("policies_prompt_id_idx", "prompt_id", "id"),
)

# Shipped prompt sets that keep the meaning that they had when this database was made by an earlier version.
kept_prompt_sets = Table(
    "kept_prompt_sets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("means", Text, nullable=False),
)
