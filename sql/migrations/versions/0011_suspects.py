"""Which videos may kill their run, and how many runs each killed alone.

Until now all videos of a chunk were quarantined together, and most of them are innocent. They are pending again and
suspect: the next run claims each of them alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("analyses", sa.Column("crashes", sa.Integer, nullable=False, server_default="0"), schema="nightreel")
    op.add_column(
        "analyses", sa.Column("suspect", sa.Boolean, nullable=False, server_default="false"), schema="nightreel"
    )
    op.execute(
        "UPDATE nightreel.analyses SET status = 'pending', suspect = true, attempts = 0, reason = NULL, detail = NULL "
        "WHERE status = 'quarantined' AND reason = 'attempts_exhausted'"
    )
    op.execute(
        "CREATE INDEX analyses_suspect_idx ON nightreel.analyses (recipe_id, crashes, uri) "
        "WHERE status = 'pending' AND suspect"
    )


def downgrade() -> None:
    op.execute("DROP INDEX nightreel.analyses_suspect_idx")
    op.drop_column("analyses", "suspect", schema="nightreel")
    op.drop_column("analyses", "crashes", schema="nightreel")
