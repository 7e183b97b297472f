"""How long a run counts as alive without another heartbeat.

A run that was running before the upgrade has no heartbeat: it counts as dead. Workers are stopped during an upgrade.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("runs", sa.Column("alive_until", sa.DateTime(timezone=True)), schema="nightreel")


def downgrade() -> None:
    op.drop_column("runs", "alive_until", schema="nightreel")
