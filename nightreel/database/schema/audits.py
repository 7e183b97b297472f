"""What tells whether machine and people can be trusted: audit samples and golden items."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from nightreel.database.schema.columns import created_column, id_column, metadata, time_column

# A random sample of one label, as the policy `policy_id` judged it. `kind`: misses (what the machine calls "no"), or
# shadow (where two recipes disagree). An open one asks people; the next one of its label and kind ends it.
audits = Table(
    "audits",
    metadata,
    id_column(),
    Column("kind", Text, nullable=False),
    Column("prompt_id", BigInteger, ForeignKey("nightreel.prompts.id"), nullable=False),
    Column("tag", Text, nullable=False),
    Column("policy_id", BigInteger, ForeignKey("nightreel.policies.id"), nullable=False),
    Column("first_recipe_id", BigInteger, ForeignKey("nightreel.recipes.id")),
    Column("second_recipe_id", BigInteger, ForeignKey("nightreel.recipes.id")),
    Column("seed", BigInteger, nullable=False),
    Column("made_by", Text, nullable=False),
    created_column("drawn_at"),
    time_column("ended_at"),
    CheckConstraint("kind IN ('misses', 'shadow')", name="kind"),
    CheckConstraint(
        "num_nulls(first_recipe_id, second_recipe_id) = CASE kind WHEN 'shadow' THEN 0 ELSE 2 END", name="recipes"
    ),
    Index("audits_open_idx", "prompt_id", "tag", "kind", unique=True, postgresql_where=text("ended_at IS NULL")),
)

# Items that the machine treats alike. `found`: what it says of them; `low`, `high`: their probabilities; `size`: how
# many there were when the sample was drawn.
audit_strata = Table(
    "audit_strata",
    metadata,
    Column("audit_id", BigInteger, ForeignKey("nightreel.audits.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("found", Text, nullable=False),
    Column("low", Double),
    Column("high", Double),
    Column("size", BigInteger, nullable=False),
    CheckConstraint("found IN ('flagged', 'unknown', 'error', 'answered', 'only_first', 'only_second')", name="found"),
)

# The contents that were drawn. Of what the machine shows to people anyway, all are.
audit_items = Table(
    "audit_items",
    metadata,
    Column("audit_id", BigInteger, primary_key=True),
    Column("content", Text, primary_key=True),
    Column("stratum", Integer, nullable=False),
    Column("p", Double),
    ForeignKeyConstraint(["audit_id", "stratum"], ["nightreel.audit_strata.audit_id", "nightreel.audit_strata.number"]),
    Index("audit_items_content_idx", "content"),
)

# A content of which the right decisions are known.
golden_items = Table(
    "golden_items",
    metadata,
    id_column(),
    Column("content", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    created_column(),
    time_column("removed_at"),
    Index("golden_items_content_idx", "content", unique=True, postgresql_where=text("removed_at IS NULL")),
)

# The right decision about a label of a golden item. `is_right`: confirm, else reject.
golden_labels = Table(
    "golden_labels",
    metadata,
    Column("golden_id", BigInteger, ForeignKey("nightreel.golden_items.id", ondelete="CASCADE"), primary_key=True),
    Column("prompt_id", BigInteger, ForeignKey("nightreel.prompts.id"), primary_key=True),
    Column("tag", Text, primary_key=True),
    Column("is_right", Boolean, nullable=False),
)
