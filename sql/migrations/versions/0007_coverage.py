"""Coverage: the seconds of each segment and video that were seen; partly done analyses and their failed segments.

Earlier versions did not measure coverage. Their probes say how many frames a file promised and how many it held.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_STATUSES = "'pending', 'claimed', 'done', 'failed', 'quarantined'"
_VIEWS = "reporting.videos, reporting.answers, reporting.video_answers, reporting.failures, reporting.failed_segments"

# A file that was cut off without a promise of frames may have held any number: null.
_EXPECTED = """
UPDATE nightreel.videos
SET expected_s = estimate.expected_s,
    probe = probe || jsonb_build_object('expected_s', estimate.expected_s)
FROM (
    SELECT id,
           CASE WHEN promised > found AND found > 0 THEN duration_s * promised / found
                WHEN truncated THEN NULL
                ELSE duration_s
           END AS expected_s
    FROM (
        SELECT id,
               duration_s,
               coalesce((probe ->> 'truncated')::boolean, false) AS truncated,
               (probe ->> 'expected_frames')::float8 AS promised,
               (probe ->> 'frame_count')::float8 + coalesce((probe ->> 'discarded_frames')::float8, 0) AS found
        FROM nightreel.videos
        WHERE probe IS NOT NULL
    ) AS probed
) AS estimate
WHERE videos.id = estimate.id
"""


def upgrade() -> None:
    op.add_column("videos", sa.Column("expected_s", sa.Double), schema="nightreel")
    op.execute(_EXPECTED)
    op.add_column("analyses", sa.Column("covered_s", sa.Double), schema="nightreel")
    op.add_column("segments", sa.Column("promised_s", sa.Double), schema="nightreel")
    op.add_column("features", sa.Column("covered_s", sa.Double), schema="nightreel")
    _set_statuses(f"{_STATUSES}, 'partly_done'")
    _index_failed("'failed', 'quarantined', 'partly_done'")
    op.create_table(
        "failed_segments",
        sa.Column(
            "analysis_id",
            sa.BigInteger,
            sa.ForeignKey("nightreel.analyses.id", name="failed_segments_analysis_id_fkey"),
            nullable=False,
        ),
        sa.Column("index", sa.Integer, nullable=False),
        sa.Column("start_s", sa.Double, nullable=False),
        sa.Column("end_s", sa.Double, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("analysis_id", "index", name="failed_segments_pkey"),
        schema="nightreel",
    )
    op.create_table(
        "judging",
        sa.Column("only", sa.Boolean, nullable=False, server_default="true"),
        sa.Column("min_coverage", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("only", name="judging_pkey"),
        sa.CheckConstraint('"only"', name="judging_only_check"),
        sa.CheckConstraint("min_coverage >= 0 AND min_coverage <= 1", name="judging_min_coverage_check"),
        schema="nightreel",
    )


def downgrade() -> None:
    op.execute(f"DROP VIEW IF EXISTS {_VIEWS}")
    op.execute("DROP VIEW IF EXISTS nightreel.newest_answers")
    op.execute("DROP FUNCTION IF EXISTS nightreel.seen_s, nightreel.too_little, nightreel.saw, nightreel.is_no")
    op.drop_table("judging", schema="nightreel")
    op.drop_table("failed_segments", schema="nightreel")
    op.execute("UPDATE nightreel.analyses SET status = 'failed' WHERE status = 'partly_done'")
    _index_failed("'failed', 'quarantined'")
    _set_statuses(_STATUSES)
    op.drop_column("features", "covered_s", schema="nightreel")
    op.drop_column("segments", "promised_s", schema="nightreel")
    op.drop_column("analyses", "covered_s", schema="nightreel")
    op.drop_column("videos", "expected_s", schema="nightreel")


def _set_statuses(statuses: str) -> None:
    op.execute(
        "ALTER TABLE nightreel.analyses DROP CONSTRAINT analyses_status_check, "
        f"ADD CONSTRAINT analyses_status_check CHECK (status IN ({statuses}))"
    )


def _index_failed(statuses: str) -> None:
    op.drop_index("analyses_failed_idx", "analyses", schema="nightreel")
    op.create_index(
        "analyses_failed_idx",
        "analyses",
        ["status", "reason"],
        schema="nightreel",
        postgresql_where=sa.text(f"status IN ({statuses})"),
    )
