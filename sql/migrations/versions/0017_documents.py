"""The words of each segment, for search. `nightreel db upgrade` and runs fill them in, in batches (stages.index)."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "documents",
        sa.Column(
            "segment_id", sa.BigInteger, sa.ForeignKey("nightreel.segments.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("video_id", sa.BigInteger, nullable=False),
        sa.Column("terms", TSVECTOR, nullable=False),
        sa.Column("facts", ARRAY(sa.Text), nullable=False, server_default="{}"),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema="nightreel",
    )
    op.execute("CREATE INDEX documents_video_id_idx ON nightreel.documents (video_id)")
    op.execute(
        "CREATE INDEX documents_terms_facts_idx ON nightreel.documents USING gin (terms, facts) WITH (fastupdate = off)"
    )
    op.execute("CREATE INDEX videos_replaced_idx ON nightreel.videos (id) WHERE replaced_at IS NOT NULL")
    op.create_table(
        "search_index",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="search_index_id_check"), primary_key=True),
        sa.Column("languages", ARRAY(sa.Text), nullable=False),
        sa.Column("indexed_up_to", sa.BigInteger),
        schema="nightreel",
    )
    # 0: no video is indexed yet; null: all are.
    op.execute(
        "INSERT INTO nightreel.search_index SELECT 1, ARRAY['english'], "
        "CASE WHEN EXISTS (SELECT FROM nightreel.segments) THEN 0 END"
    )


def downgrade() -> None:
    op.execute("""
        DO $$ DECLARE one regprocedure; BEGIN
            FOR one IN SELECT oid FROM pg_proc WHERE pronamespace = 'reporting'::regnamespace
                       AND proname IN ('search', 'search_reads') LOOP
                EXECUTE 'DROP FUNCTION ' || one;
            END LOOP;
        END $$
    """)
    op.execute("DROP INDEX nightreel.videos_replaced_idx")
    op.drop_table("search_index", schema="nightreel")
    op.drop_table("documents", schema="nightreel")
