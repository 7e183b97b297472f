"""What models measured."""

from __future__ import annotations

from sqlalchemy import (
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

# What a model measured (domain.Answer), whole. `p` is judging.probability. `mass`: a number, or one for each tag. A
# superseded answer is history. `look`: of a second look at its segment, domain.LookAgain.key, else empty; `windows`:
# what that measured in each window; `covered_s`: the seconds that it saw. `feature_key` is then that of the window with
# the highest p.
answers = Table(
    "answers",
    metadata,
    id_column(),
    Column("segment_id", BigInteger, ForeignKey("nightreel.segments.id"), nullable=False),
    Column("question_id", BigInteger, ForeignKey("nightreel.questions.id"), nullable=False),
    Column("model_id", BigInteger, ForeignKey("nightreel.models.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("text", Text),
    Column("p", Double),
    json_column("scores"),
    Column("reason", Text),
    Column("prompt_tokens", Integer, nullable=False),
    Column("generated_tokens", Integer, nullable=False),
    Column("feature_key", Text, ForeignKey("nightreel.features.key"), nullable=False),
    Column("reused_from", BigInteger, ForeignKey("nightreel.answers.id")),
    Column("run_id", BigInteger, ForeignKey("nightreel.runs.id"), nullable=False),
    created_column("answered_at"),
    Column("superseded", Boolean, nullable=False, server_default="false"),
    json_column("mass"),
    json_column("bounds"),
    Column("look", Text, nullable=False, server_default=""),
    json_column("windows"),
    Column("covered_s", Double),
    CheckConstraint("state IN ('measured', 'unmeasured', 'error')", name="state"),
    CheckConstraint("(state = 'measured') = (reason IS NULL)", name="reason"),
    CheckConstraint("(look = '') = (windows IS NULL AND covered_s IS NULL)", name="look"),
    CheckConstraint("p >= 0 AND p <= 1", name="p"),
    Index(
        "answers_segment_id_question_id_model_id_look_key",
        "segment_id",
        "question_id",
        "model_id",
        "look",
        unique=True,
        postgresql_where=text("NOT superseded"),
    ),
    Index("answers_segment_id_idx", "segment_id"),  # with superseded answers
    # Re-judging reads only the answers that a change of policy can touch.
    Index("answers_question_id_p_idx", "question_id", "p", "id"),
    # Erasure deletes answers and features: Postgres looks for references to each.
    Index("answers_reused_from_idx", "reused_from", postgresql_where=text("reused_from IS NOT NULL")),
    Index("answers_feature_key_idx", "feature_key", postgresql_using="hash"),
    Index("answers_bounded_idx", "question_id", "id", postgresql_where=text("bounds IS NOT NULL")),
)
