"""A search has a time range: the function with the parameters of before goes, and the upgrade makes the new one."""

from alembic import op

revision = "0022"
down_revision = "0020"


def upgrade() -> None:
    op.execute("DROP FUNCTION IF EXISTS reporting.search")


def downgrade() -> None:
    op.execute("DROP FUNCTION IF EXISTS reporting.search")
