"""Golden items: contents of which the right decisions are known, given to people as cases of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    op.create_table(
        "golden_items",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("removed_at", sa.DateTime(timezone=True)),
        schema="nightreel",
    )
    op.execute(
        "CREATE UNIQUE INDEX golden_items_content_idx ON nightreel.golden_items (content) WHERE removed_at IS NULL"
    )
    op.create_table(
        "golden_labels",
        sa.Column(
            "golden_id", sa.BigInteger, sa.ForeignKey("nightreel.golden_items.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("prompt_id", sa.BigInteger, sa.ForeignKey("nightreel.prompts.id"), primary_key=True),
        sa.Column("tag", sa.Text, primary_key=True),
        sa.Column("is_right", sa.Boolean, nullable=False),
        schema="nightreel",
    )
    op.add_column(
        "cases", sa.Column("golden_id", sa.BigInteger, sa.ForeignKey("nightreel.golden_items.id")), schema="nightreel"
    )
    op.add_column(
        "cases", sa.Column("golden_for", sa.BigInteger, sa.ForeignKey("nightreel.users.id")), schema="nightreel"
    )
    op.execute(
        "ALTER TABLE nightreel.cases ADD CONSTRAINT cases_golden_check "
        "CHECK (num_nulls(golden_id, golden_for) IN (0, 2))"
    )
    op.execute("CREATE INDEX cases_golden_idx ON nightreel.cases (golden_for, golden_id) WHERE golden_for IS NOT NULL")
    # The console may add no case and no finding. This function has the rights of its owner, and makes only cases of
    # golden items: each has a content of its own, so that decisions about it are about no video.
    op.execute(
        """
        CREATE FUNCTION nightreel.open_golden_case(golden bigint, queue bigint, person bigint, labels jsonb)
        RETURNS bigint
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        DECLARE
            made bigint;
        BEGIN
            INSERT INTO nightreel.cases (queue_id, content, version, golden_id, golden_for)
            VALUES (queue, 'golden:' || golden || ':' || person, 1, golden, person)
            ON CONFLICT DO NOTHING
            RETURNING id INTO made;
            IF made IS NOT NULL THEN
                INSERT INTO nightreel.findings (case_id, prompt_id, tag, category, found, lane, policy_id, video_id,
                                                evidence)
                SELECT made, one.prompt_id, one.tag, one.category, 'unknown', one.lane, one.policy_id, one.video_id,
                       part.evidence
                FROM jsonb_to_recordset(labels) AS one (prompt_id bigint, tag text, category text, lane text,
                                                        policy_id bigint, video_id bigint)
                JOIN nightreel.golden_labels AS label
                    ON label.golden_id = golden AND label.prompt_id = one.prompt_id AND label.tag = one.tag
                CROSS JOIN LATERAL (
                    SELECT jsonb_build_object(
                               'p', NULL,
                               'first_s', min(segment.start_s),
                               'ranges', jsonb_build_array(jsonb_build_array(min(segment.start_s), max(segment.end_s))),
                               'answer_ids', coalesce(jsonb_agg(answer.id ORDER BY answer.id), '[]'),
                               'model_ids', coalesce(jsonb_agg(DISTINCT answer.model_id), '[]')
                           ) AS evidence
                    FROM nightreel.segments AS segment
                    JOIN nightreel.answers AS answer ON answer.segment_id = segment.id
                    JOIN nightreel.verdicts AS verdict
                        ON verdict.answer_id = answer.id AND verdict.prompt_id = one.prompt_id AND verdict.shown
                    WHERE segment.video_id = one.video_id
                    HAVING count(*) > 0
                ) AS part;
                IF NOT FOUND THEN
                    DELETE FROM nightreel.cases WHERE id = made;
                    made := NULL;
                END IF;
            END IF;
            RETURN made;
        END
        $$
        """
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION nightreel.open_golden_case")
    for column in ("golden_for", "golden_id"):
        op.execute(f"ALTER TABLE nightreel.cases DROP COLUMN {column} CASCADE")
    for table in ("golden_labels", "golden_items"):
        op.execute(f"DROP TABLE nightreel.{table} CASCADE")
