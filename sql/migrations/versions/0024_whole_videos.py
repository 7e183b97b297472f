"""Answers to questions about whole videos, and the notes that they were asked over."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0024"
down_revision = "0022"


def upgrade() -> None:
    op.create_table(
        "notes",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("answer_ids", ARRAY(sa.BigInteger), nullable=False),
        sa.UniqueConstraint("key", name="notes_key_key"),
        schema="nightreel",
    )
    op.create_table(
        "whole_answers",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("video_id", sa.BigInteger, sa.ForeignKey("nightreel.videos.id", ondelete="CASCADE"), nullable=False),
        sa.Column("question_id", sa.BigInteger, sa.ForeignKey("nightreel.questions.id"), nullable=False),
        sa.Column("model_id", sa.BigInteger, sa.ForeignKey("nightreel.models.id"), nullable=False),
        sa.Column("plan_hash", sa.Text, nullable=False),
        sa.Column("notes_id", sa.BigInteger, sa.ForeignKey("nightreel.notes.id"), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("text", sa.Text),
        sa.Column("p", sa.Double),
        sa.Column("scores", JSONB),
        sa.Column("mass", JSONB),
        sa.Column("bounds", JSONB),
        sa.Column("reason", sa.Text),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("generated_tokens", sa.Integer, nullable=False),
        sa.Column("covered_s", sa.Double, nullable=False),
        sa.Column("expected_s", sa.Double, nullable=False),
        sa.Column("sums", JSONB),
        sa.Column("reused_from", sa.BigInteger, sa.ForeignKey("nightreel.whole_answers.id")),
        sa.Column("run_id", sa.BigInteger, sa.ForeignKey("nightreel.runs.id"), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("superseded", sa.Boolean, nullable=False, server_default="false"),
        sa.CheckConstraint("state IN ('measured', 'unmeasured')", name="whole_answers_state_check"),
        sa.CheckConstraint("(state = 'measured') = (reason IS NULL)", name="whole_answers_reason_check"),
        sa.CheckConstraint("p >= 0 AND p <= 1", name="whole_answers_p_check"),
        schema="nightreel",
    )
    op.execute(
        "CREATE UNIQUE INDEX whole_answers_asked_key ON nightreel.whole_answers "
        "(video_id, question_id, model_id, plan_hash) WHERE NOT superseded"
    )
    op.execute("CREATE INDEX whole_answers_question_id_idx ON nightreel.whole_answers (question_id, video_id)")
    op.execute("CREATE INDEX whole_answers_notes_id_idx ON nightreel.whole_answers (notes_id)")
    op.add_column(
        "video_verdicts",
        sa.Column("whole_answer_id", sa.BigInteger, sa.ForeignKey("nightreel.whole_answers.id", ondelete="CASCADE")),
        schema="nightreel",
    )


def downgrade() -> None:
    op.execute("DROP VIEW IF EXISTS reporting.video_answers CASCADE")
    op.drop_column("video_verdicts", "whole_answer_id", schema="nightreel")
    op.drop_table("whole_answers", schema="nightreel")
    op.drop_table("notes", schema="nightreel")
