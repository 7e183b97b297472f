"""The hash of the texts that a document was made from: their words are found only once."""

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0042"


def upgrade() -> None:
    op.add_column("documents", sa.Column("texts_hash", sa.LargeBinary), schema="nightreel")


def downgrade() -> None:
    op.drop_column("documents", "texts_hash", schema="nightreel")
