"""Vectors of segments, for search by meaning. sql/views/19_search_near.sql adds their column, where pgvector is."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.create_table(
        "embedding_models",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("spec", JSONB, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.UniqueConstraint("hash", name="embedding_models_hash_key"),
        sa.CheckConstraint("width BETWEEN 1 AND 4000", name="embedding_models_width_check"),
        schema="nightreel",
    )
    op.create_table(
        "vectors",
        sa.Column(
            "embedding_model_id", sa.BigInteger, sa.ForeignKey("nightreel.embedding_models.id"), primary_key=True
        ),
        sa.Column(
            "segment_id", sa.BigInteger, sa.ForeignKey("nightreel.segments.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema="nightreel",
    )
    op.execute("CREATE INDEX vectors_segment_id_idx ON nightreel.vectors (segment_id)")


def downgrade() -> None:
    op.execute("""
        DO $$ DECLARE one regprocedure; BEGIN
            FOR one IN SELECT oid FROM pg_proc WHERE pronamespace::regnamespace::text IN ('nightreel', 'reporting')
                       AND proname IN ('search_near', 'search_near_lacks', 'search_near_commit', 'index_vectors') LOOP
                EXECUTE 'DROP FUNCTION ' || one;
            END LOOP;
        END $$
    """)
    op.drop_table("vectors", schema="nightreel")
    op.drop_table("embedding_models", schema="nightreel")
