"""Who saw what. Triggers refuse every change of a row, also to the owner."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0029"


def upgrade() -> None:
    op.create_table(
        "views_seen",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("user_id", sa.BigInteger, sa.ForeignKey("nightreel.users.id"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("video_id", sa.BigInteger),
        sa.Column("case_id", sa.BigInteger, sa.ForeignKey("nightreel.cases.id")),
        sa.Column("segment", sa.Integer),
        sa.Column("blurred", sa.Boolean),
        sa.CheckConstraint("what IN ('case', 'contact_sheet', 'frame', 'video')", name="views_seen_what_check"),
        sa.CheckConstraint("what = 'case' OR blurred IS NOT NULL", name="views_seen_blurred_check"),
        sa.CheckConstraint("num_nonnulls(video_id, case_id) > 0", name="views_seen_of_check"),
        schema="nightreel",
    )
    op.create_index("views_seen_video_id_idx", "views_seen", ["video_id", "id"], schema="nightreel")
    op.execute(
        "CREATE TRIGGER views_seen_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON nightreel.views_seen "
        "FOR EACH STATEMENT EXECUTE FUNCTION nightreel.refuse_change()"
    )


def downgrade() -> None:
    op.execute("DROP TABLE nightreel.views_seen CASCADE")
