"""The secret keys with which this database signs files of features. The first one is made when a cache is first opened.

Files that a version without keys has written keep their rows in `features`, whose SHA-256 they are checked against.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "cache_keys",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("octet_length(secret) >= 32", name="cache_keys_secret_check"),
        schema="nightreel",
    )


def downgrade() -> None:
    op.drop_table("cache_keys", schema="nightreel")
