"""What people ask for in the console."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    op.create_table(
        "requests",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("detail", JSONB, nullable=False),
        sa.Column("user_id", sa.BigInteger, sa.ForeignKey("nightreel.users.id"), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("outcome", sa.Text),
        sa.Column("failed", sa.Boolean, nullable=False, server_default="false"),
        sa.CheckConstraint("kind IN ('retry', 'backfill', 'policy')", name="requests_kind_check"),
        sa.CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name="requests_outcome_check"),
        schema="nightreel",
    )
    op.create_index(
        "requests_waiting_idx", "requests", ["id"], schema="nightreel", postgresql_where=sa.text("ended_at IS NULL")
    )


def downgrade() -> None:
    op.drop_table("requests", schema="nightreel")
