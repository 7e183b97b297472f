"""Videos that only some people may see: those with a verdict in the lane `restricted` that is not a "no".

Triggers keep `videos.restricted`, so no statement that writes verdicts can forget it. They read a video's answers, as
writing does: an index finds them. Another one finds what is flagged or not known.
"""

import sqlalchemy as sa
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
_RESTRICT = """
CREATE FUNCTION nightreel.restrict_videos(ids bigint[]) RETURNS void LANGUAGE sql AS $$
    WITH locked AS MATERIALIZED (
        SELECT id FROM nightreel.videos WHERE id = ANY (ids) ORDER BY id FOR UPDATE
    ), found AS (
        SELECT locked.id,
               EXISTS (
                   SELECT FROM nightreel.video_verdicts AS verdict
                   WHERE verdict.video_id = locked.id AND verdict.restricts
               )
               OR EXISTS (
                   SELECT FROM nightreel.segments AS segment
                   JOIN nightreel.answers AS answer ON answer.segment_id = segment.id
                   JOIN nightreel.verdicts AS verdict ON verdict.answer_id = answer.id
                   WHERE segment.video_id = locked.id AND verdict.restricts AND verdict.shown
               ) AS restricted
        FROM locked
    )
    UPDATE nightreel.videos AS video SET restricted = found.restricted
    FROM found WHERE video.id = found.id AND video.restricted <> found.restricted
$$
"""
# {changed}: the transition tables that the event has.
_ON_VERDICTS = """
CREATE FUNCTION nightreel.verdicts_{event}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
BEGIN
    SELECT array_agg(DISTINCT segment.video_id) INTO ids
    FROM ({changed}) AS changed
    JOIN nightreel.answers AS answer ON answer.id = changed.answer_id
    JOIN nightreel.segments AS segment ON segment.id = answer.segment_id
    WHERE changed.restricts;
    IF ids IS NOT NULL THEN
        PERFORM nightreel.restrict_videos(ids);
    END IF;
    RETURN NULL;
END
$$
"""
_ON_VIDEO_VERDICTS = """
CREATE FUNCTION nightreel.video_verdicts_{event}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
BEGIN
    SELECT array_agg(DISTINCT changed.video_id) INTO ids FROM ({changed}) AS changed WHERE changed.restricts;
    IF ids IS NOT NULL THEN
        PERFORM nightreel.restrict_videos(ids);
    END IF;
    RETURN NULL;
END
$$
"""
_EVENTS = {
    "insert": ("NEW TABLE AS arrived", "SELECT * FROM arrived"),
    "update": ("OLD TABLE AS gone NEW TABLE AS arrived", "SELECT * FROM gone UNION ALL SELECT * FROM arrived"),
    "delete": ("OLD TABLE AS gone", "SELECT * FROM gone"),
}
_TABLES = {"verdicts": _ON_VERDICTS, "video_verdicts": _ON_VIDEO_VERDICTS}


def upgrade() -> None:
    op.add_column(
        "videos",
        sa.Column("restricted", sa.Boolean, nullable=False, server_default="false"),
        schema="nightreel",
    )
    op.create_index("answers_segment_id_idx", "answers", ["segment_id"], schema="nightreel")
    for table, key, where in (
        ("verdicts", "answer_id", "restricts AND shown"),
        ("video_verdicts", "video_id", "restricts"),
    ):
        op.execute(
            f"ALTER TABLE nightreel.{table} ADD COLUMN restricts boolean GENERATED ALWAYS AS ({_RESTRICTS}) STORED"
        )
        op.execute(f"CREATE INDEX {table}_restricts_idx ON nightreel.{table} ({key}) WHERE {where}")
    op.execute(
        "CREATE INDEX video_verdicts_found_idx ON nightreel.video_verdicts (severity, video_id) "
        "WHERE flagged OR state <> 'answered'"
    )
    op.execute(_RESTRICT)
    for table, function in _TABLES.items():
        for event, (tables, changed) in _EVENTS.items():
            op.execute(function.format(event=event, changed=changed))
            op.execute(
                f"CREATE TRIGGER {table}_restrict_after_{event} AFTER {event} ON nightreel.{table} "
                f"REFERENCING {tables} FOR EACH STATEMENT EXECUTE FUNCTION nightreel.{table}_{event}()"
            )
    op.execute(
        """
        SELECT nightreel.restrict_videos(array_agg(video_id)) FROM (
            SELECT video_id FROM nightreel.video_verdicts WHERE restricts
            UNION
            SELECT segment.video_id FROM nightreel.verdicts AS verdict
            JOIN nightreel.answers AS answer ON answer.id = verdict.answer_id
            JOIN nightreel.segments AS segment ON segment.id = answer.segment_id
            WHERE verdict.restricts AND verdict.shown
        ) AS found
        """
    )


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
    for table in _TABLES:
        for event in _EVENTS:
            op.execute(f"DROP FUNCTION nightreel.{table}_{event} CASCADE")
        op.drop_column(table, "restricts", schema="nightreel")
    op.execute("DROP FUNCTION nightreel.restrict_videos")
    op.drop_index("answers_segment_id_idx", schema="nightreel")
    op.drop_index("video_verdicts_found_idx", schema="nightreel")
    op.drop_column("videos", "restricted", schema="nightreel")
