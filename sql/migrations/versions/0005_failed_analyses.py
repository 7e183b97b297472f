"""An index to count failed analyses by reason without reading those that are done."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(
        "CREATE INDEX analyses_failed_idx ON nightreel.analyses (status, reason) "
        "WHERE status IN ('failed', 'quarantined')"
    )


def downgrade() -> None:
    op.execute("DROP INDEX nightreel.analyses_failed_idx")
