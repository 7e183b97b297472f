"""Audits: random samples of what the machine says about a label, which people judge without knowing it."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.create_table(
        "audits",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("prompt_id", sa.BigInteger, sa.ForeignKey("nightreel.prompts.id"), nullable=False),
        sa.Column("tag", sa.Text, nullable=False),
        sa.Column("policy_id", sa.BigInteger, sa.ForeignKey("nightreel.policies.id"), nullable=False),
        sa.Column("first_recipe_id", sa.BigInteger, sa.ForeignKey("nightreel.recipes.id")),
        sa.Column("second_recipe_id", sa.BigInteger, sa.ForeignKey("nightreel.recipes.id")),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("drawn_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("kind IN ('misses', 'shadow')", name="audits_kind_check"),
        sa.CheckConstraint(
            "num_nulls(first_recipe_id, second_recipe_id) = CASE kind WHEN 'shadow' THEN 0 ELSE 2 END",
            name="audits_recipes_check",
        ),
        schema="nightreel",
    )
    op.execute("CREATE UNIQUE INDEX audits_open_idx ON nightreel.audits (prompt_id, tag, kind) WHERE ended_at IS NULL")
    op.create_table(
        "audit_strata",
        sa.Column("audit_id", sa.BigInteger, sa.ForeignKey("nightreel.audits.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("found", sa.Text, nullable=False),
        sa.Column("low", sa.Double),
        sa.Column("high", sa.Double),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.CheckConstraint(
            "found IN ('flagged', 'unknown', 'error', 'answered', 'only_first', 'only_second')",
            name="audit_strata_found_check",
        ),
        schema="nightreel",
    )
    op.create_table(
        "audit_items",
        sa.Column("audit_id", sa.BigInteger, primary_key=True),
        sa.Column("content", sa.Text, primary_key=True),
        sa.Column("stratum", sa.Integer, nullable=False),
        sa.Column("p", sa.Double),
        sa.ForeignKeyConstraint(
            ["audit_id", "stratum"],
            ["nightreel.audit_strata.audit_id", "nightreel.audit_strata.number"],
            name="audit_items_audit_id_stratum_fkey",
        ),
        schema="nightreel",
    )
    op.create_index("audit_items_content_idx", "audit_items", ["content"], schema="nightreel")


def downgrade() -> None:
    for table in ("audit_items", "audit_strata", "audits"):
        op.execute(f"DROP TABLE nightreel.{table} CASCADE")
