"""Work in the order of its objects' age, for runs that take the newest first."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("analyses", sa.Column("modified_at", sa.DateTime(timezone=True)), schema="nightreel")
    # Of finished work it is never read. The second condition of the index keeps other queries from choosing it.
    op.execute(
        "UPDATE nightreel.analyses AS analysis SET modified_at = video.modified_at FROM nightreel.videos AS video "
        "WHERE video.id = analysis.video_id AND analysis.status NOT IN ('done')"
    )
    op.execute(
        "CREATE INDEX analyses_pending_newest_idx ON nightreel.analyses (recipe_id, modified_at DESC, uri) "
        "WHERE status = 'pending' AND modified_at IS NOT NULL"
    )


def downgrade() -> None:
    op.execute("DROP INDEX nightreel.analyses_pending_newest_idx")
    op.drop_column("analyses", "modified_at", schema="nightreel")
