"""A search has a time range. A webhook may have an old secret that signs too, and a pause for its receiver."""

from alembic import op

revision = "0022"
down_revision = "0020"


def upgrade() -> None:
    op.execute("DROP FUNCTION IF EXISTS reporting.search")  # the upgrade makes the one with the new parameters
    op.execute("""
        ALTER TABLE nightreel.webhooks
            ADD old_secret text,
            ADD old_secret_until timestamptz,
            ADD paused_until timestamptz,
            ADD CONSTRAINT webhooks_old_secret_check CHECK ((old_secret IS NULL) = (old_secret_until IS NULL))
    """)


def downgrade() -> None:
    op.execute("DROP FUNCTION IF EXISTS reporting.search")
    op.execute("ALTER TABLE nightreel.webhooks DROP old_secret, DROP old_secret_until, DROP paused_until")
