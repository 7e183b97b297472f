"""Indexes for the erasure of answers and features: Postgres looks for references to each deleted row."""

from alembic import op

revision = "0033"
down_revision = "0032"

_INDEXES = {
    "answers_reused_from_idx": "answers (reused_from) WHERE reused_from IS NOT NULL",
    "answers_feature_key_idx": "answers USING hash (feature_key)",
    "whole_answers_reused_from_idx": "whole_answers (reused_from) WHERE reused_from IS NOT NULL",
    "video_verdicts_whole_answer_id_idx": "video_verdicts (whole_answer_id) WHERE whole_answer_id IS NOT NULL",
    "features_content_sha256_idx": "features (content_sha256) WHERE content_sha256 IS NOT NULL",
}


def upgrade() -> None:
    for name, what in _INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON nightreel.{what}")


def downgrade() -> None:
    for name in _INDEXES:
        op.execute(f"DROP INDEX nightreel.{name}")
