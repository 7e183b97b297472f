"""What models measured about whole videos, over notes on their segments."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from nightreel.database.schema.columns import created_column, id_column, json_column, metadata

# Of which answers the notes on a video were made (domain.Notes): the originals, where an answer is a copy.
notes = Table(
    "notes",
    metadata,
    id_column(),
    Column("key", Text, nullable=False, unique=True),
    Column("answer_ids", ARRAY(BigInteger), nullable=False),
)

# The answer to a question about a whole video (domain.Answer), and the notes that it was asked over. `sums`: what the
# model made of parts of notes that are longer than it is given at a time: [[start_s, end_s, text], ...]. A superseded
# answer was asked over other notes. `covered_s` and `expected_s` are those of the video when it was asked.
whole_answers = Table(
    "whole_answers",
    metadata,
    id_column(),
    Column("video_id", BigInteger, ForeignKey("nightreel.videos.id", ondelete="CASCADE"), nullable=False),
    Column("question_id", BigInteger, ForeignKey("nightreel.questions.id"), nullable=False),
    Column("model_id", BigInteger, ForeignKey("nightreel.models.id"), nullable=False),
    Column("plan_hash", Text, nullable=False),
    Column("notes_id", BigInteger, ForeignKey("nightreel.notes.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("text", Text),
    Column("p", Double),
    json_column("scores"),
    json_column("mass"),
    json_column("bounds"),
    Column("reason", Text),
    Column("prompt_tokens", Integer, nullable=False),
    Column("generated_tokens", Integer, nullable=False),
    Column("covered_s", Double, nullable=False),
    Column("expected_s", Double, nullable=False),
    json_column("sums"),
    Column("reused_from", BigInteger, ForeignKey("nightreel.whole_answers.id")),
    Column("run_id", BigInteger, ForeignKey("nightreel.runs.id"), nullable=False),
    created_column("answered_at"),
    Column("superseded", Boolean, nullable=False, server_default="false"),
    CheckConstraint("state IN ('measured', 'unmeasured')", name="state"),
    CheckConstraint("(state = 'measured') = (reason IS NULL)", name="reason"),
    CheckConstraint("p >= 0 AND p <= 1", name="p"),
    Index(
        "whole_answers_asked_key",
        "video_id",
        "question_id",
        "model_id",
        "plan_hash",
        unique=True,
        postgresql_where=text("NOT superseded"),
    ),
    Index("whole_answers_question_id_idx", "question_id", "video_id"),
    Index("whole_answers_notes_id_idx", "notes_id"),
    Index("whole_answers_reused_from_idx", "reused_from", postgresql_where=text("reused_from IS NOT NULL")),
)
