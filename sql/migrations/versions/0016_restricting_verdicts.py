"""Which verdicts restrict who may see their video: in the lane `restricted`, and not a "no"."""

from alembic import op

revision = "0016"
down_revision = "0015"

# An unknown and an error restrict. An answer is a "no" if it is false, no tag, or a choice or number that is not
# flagged.
_RESTRICTS = """
    COALESCE(lane = 'restricted'::text, false) AND NOT (state = 'answered'::text AND COALESCE(
        value = ANY (ARRAY['false'::jsonb, '[]'::jsonb])
        OR jsonb_typeof(value) = ANY (ARRAY['string'::text, 'number'::text]) AND NOT flagged, false
    ))
"""


def upgrade() -> None:
    for table, key, where in (
        ("verdicts", "answer_id", "restricts AND shown"),
        ("video_verdicts", "video_id", "restricts"),
    ):
        op.execute(
            f"ALTER TABLE nightreel.{table} ADD COLUMN restricts boolean GENERATED ALWAYS AS ({_RESTRICTS}) STORED"
        )
        op.execute(f"CREATE INDEX {table}_restricts_idx ON nightreel.{table} ({key}) WHERE {where}")


def downgrade() -> None:
    # Each upgrade makes the views again.
    op.execute("""
        DO $$ DECLARE one text; BEGIN
            FOR one IN SELECT quote_ident(nspname) || '.' || quote_ident(relname)
                       FROM pg_class JOIN pg_namespace AS schema ON schema.oid = relnamespace
                       WHERE relkind = 'v' AND nspname IN ('nightreel', 'reporting') LOOP
                EXECUTE 'DROP VIEW IF EXISTS ' || one || ' CASCADE';
            END LOOP;
        END $$
    """)
    for table in ("verdicts", "video_verdicts"):
        op.drop_column(table, "restricts", schema="nightreel")
