"""Counts of queues are read from an index."""

from alembic import op

revision = "0038"
down_revision = "0036"


def upgrade() -> None:
    op.execute(
        "CREATE INDEX cases_counted_idx ON nightreel.cases (queue_id, state, opened_at) "
        "WHERE state IN ('open', 'second', 'escalated', 'appealed') AND golden_id IS NULL"
    )
    op.execute("CREATE INDEX cases_held_idx ON nightreel.cases (hold_until) WHERE hold_until IS NOT NULL")


def downgrade() -> None:
    op.execute("DROP INDEX nightreel.cases_held_idx")
    op.execute("DROP INDEX nightreel.cases_counted_idx")
