"""Links that sign a person in once."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    op.create_table(
        "sign_in_links",
        sa.Column("sha256", sa.LargeBinary, primary_key=True),
        sa.Column("user_id", sa.BigInteger, sa.ForeignKey("nightreel.users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("octet_length(sha256) = 32", name="sign_in_links_sha256_check"),
        schema="nightreel",
    )


def downgrade() -> None:
    op.drop_table("sign_in_links", schema="nightreel")
