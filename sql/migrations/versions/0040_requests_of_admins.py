"""Erasures, legal holds and golden items can be asked for."""

from alembic import op

revision = "0040"
down_revision = "0039"

_EARLIER = "requests_requests_kind_check_check"  # as 0036 named it
_NOW = "requests_kind_check"


def upgrade() -> None:
    op.execute(
        f"ALTER TABLE nightreel.requests DROP CONSTRAINT {_EARLIER}, ADD CONSTRAINT {_NOW} "
        "CHECK (kind IN ('retry', 'backfill', 'policy', 'erase', 'hold', 'end_hold', 'golden', 'end_golden'))"
    )


def downgrade() -> None:
    op.execute("DELETE FROM nightreel.requests WHERE kind NOT IN ('retry', 'backfill', 'policy')")
    op.execute(
        f"ALTER TABLE nightreel.requests DROP CONSTRAINT {_NOW}, ADD CONSTRAINT {_EARLIER} "
        "CHECK (kind IN ('retry', 'backfill', 'policy'))"
    )
