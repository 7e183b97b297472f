"""What people keep in the console: searches, and what they prefer."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    op.create_table(
        "preferences",
        sa.Column("user_id", sa.BigInteger, sa.ForeignKey("nightreel.users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("chosen", JSONB, nullable=False),
        schema="nightreel",
    )
    op.create_table(
        "saved_searches",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("user_id", sa.BigInteger, sa.ForeignKey("nightreel.users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("shared", sa.Boolean, nullable=False, server_default="false"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.UniqueConstraint("user_id", "name", name="saved_searches_user_id_name_key"),
        sa.CheckConstraint("name <> ''", name="saved_searches_name_check"),
        schema="nightreel",
    )


def downgrade() -> None:
    op.drop_table("saved_searches", schema="nightreel")
    op.drop_table("preferences", schema="nightreel")
