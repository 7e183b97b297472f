"""A digest of the views that the last upgrade stated: a command states them again only if they differ."""

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"


def upgrade() -> None:
    op.add_column("site", sa.Column("stated", sa.Text), schema="nightreel")


def downgrade() -> None:
    op.drop_column("site", "stated", schema="nightreel")
