"""Second looks: an answer can be measured in windows of its segment, and a verdict can ask for that."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013"
down_revision = "0012"

_KEY = "answers_segment_id_question_id_model_id_key"


def upgrade() -> None:
    op.add_column("answers", sa.Column("look", sa.Text, nullable=False, server_default=""), schema="nightreel")
    op.add_column("answers", sa.Column("windows", JSONB), schema="nightreel")
    op.add_column("answers", sa.Column("covered_s", sa.Double), schema="nightreel")
    op.execute(
        "ALTER TABLE nightreel.answers ADD CONSTRAINT answers_look_check "
        "CHECK ((look = '') = (windows IS NULL AND covered_s IS NULL))"
    )
    op.execute(f"DROP INDEX nightreel.{_KEY}")
    op.execute(
        "CREATE UNIQUE INDEX answers_segment_id_question_id_model_id_look_key "
        "ON nightreel.answers (segment_id, question_id, model_id, look) WHERE NOT superseded"
    )
    op.add_column(
        "verdicts",
        sa.Column("look_again", sa.Boolean, nullable=False, server_default="false"),
        schema="nightreel",
    )
    op.add_column("verdicts", sa.Column("start_s", sa.Double), schema="nightreel")
    op.add_column("verdicts", sa.Column("end_s", sa.Double), schema="nightreel")
    op.add_column(
        "video_verdicts",
        sa.Column("missing", sa.Integer, nullable=False, server_default="0"),
        schema="nightreel",
    )


def downgrade() -> None:
    op.execute("DROP VIEW IF EXISTS reporting.video_answers, nightreel.all_answers CASCADE")
    op.drop_column("video_verdicts", "missing", schema="nightreel")
    op.execute("DELETE FROM nightreel.answers WHERE look <> ''")
    op.execute("ALTER TABLE nightreel.answers DROP CONSTRAINT answers_look_check")
    op.execute("DROP INDEX nightreel.answers_segment_id_question_id_model_id_look_key")
    op.execute(
        f"CREATE UNIQUE INDEX {_KEY} ON nightreel.answers (segment_id, question_id, model_id) WHERE NOT superseded"
    )
    for column in ("look", "windows", "covered_s"):
        op.drop_column("answers", column, schema="nightreel")
    for column in ("look_again", "start_s", "end_s"):
        op.drop_column("verdicts", column, schema="nightreel")
