"""Runs have a name that says what they are: "night 2026-11-26", "analyze clips"."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("runs", sa.Column("name", sa.Text), schema="nightreel")


def downgrade() -> None:
    op.execute("DROP VIEW IF EXISTS reporting.runs")
    op.drop_column("runs", "name", schema="nightreel")
