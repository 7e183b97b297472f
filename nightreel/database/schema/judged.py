"""What policies make of answers: the verdicts of segments and of videos."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Double,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from nightreel.database.schema.columns import created_column, json_column, metadata

_RESTRICTS = """
    COALESCE(lane = 'restricted'::text, false) AND NOT (state = 'answered'::text AND COALESCE(
        value = ANY (ARRAY['false'::jsonb, '[]'::jsonb])
        OR jsonb_typeof(value) = ANY (ARRAY['string'::text, 'number'::text]) AND NOT flagged, false
    ))
"""
"""The verdict restricts who may see its video: its lane is `restricted`, and it is no "no". As Postgres spells it."""


def _verdict_columns() -> list[Column[Any]]:
    return [
        Column("state", Text, nullable=False),
        Column("text", Text),
        json_column("value"),
        Column("reason", Text),
        json_column("labels"),
        Column("severity", Integer),
        Column("lane", Text),
        Column("flagged", Boolean, nullable=False),
        Column("needs_review", Boolean, nullable=False),
        Column("restricts", Boolean, Computed(_RESTRICTS, persisted=True)),
    ]


# What an answer means for a prompt, by the policy that made it (domain.Verdict). The text of a caption is that of its
# answer. `look_again`: a second look is due; `start_s`, `end_s`: what a second look found in the segment. `due`: the
# condition of its prompt holds, and a second look is still wanted. `shown`: it is the one on show for its segment and
# prompt; `outdated`: how its answer differs from what is asked now.
verdicts = Table(
    "verdicts",
    metadata,
    Column("answer_id", BigInteger, ForeignKey("nightreel.answers.id", ondelete="CASCADE"), primary_key=True),
    Column("prompt_id", BigInteger, ForeignKey("nightreel.prompts.id"), primary_key=True),
    Column("policy_id", BigInteger, ForeignKey("nightreel.policies.id"), nullable=False),
    *_verdict_columns(),
    Column("due", Boolean, nullable=False, server_default="true"),
    Column("shown", Boolean, nullable=False, server_default="false"),
    Column("outdated", Text),
    Column("look_again", Boolean, nullable=False, server_default="false"),
    Column("start_s", Double),
    Column("end_s", Double),
    created_column("judged_at"),
    CheckConstraint("state IN ('answered', 'unknown', 'error')", name="state"),
    CheckConstraint("severity BETWEEN 1 AND 4", name="severity"),
    Index("verdicts_flagged_idx", "prompt_id", text("answer_id DESC"), postgresql_where=text("flagged AND shown")),
    Index("verdicts_restricts_idx", "answer_id", postgresql_where=text("restricts AND shown")),
)

# What the verdicts on show of a video's segments say about the video (domain.VideoVerdict). `whole_answer_id`: of a
# prompt about the whole video, the answer that it is made from.
video_verdicts = Table(
    "video_verdicts",
    metadata,
    Column("video_id", BigInteger, ForeignKey("nightreel.videos.id", ondelete="CASCADE"), primary_key=True),
    Column("prompt_id", BigInteger, ForeignKey("nightreel.prompts.id"), primary_key=True),
    Column("policy_id", BigInteger, ForeignKey("nightreel.policies.id"), nullable=False),
    *_verdict_columns(),
    Column("max_p", Double),
    Column("first_flagged_s", Double),
    Column("segments", Integer, nullable=False),
    Column("unknown", Integer, nullable=False),
    Column("errors", Integer, nullable=False),
    Column("missing", Integer, nullable=False, server_default="0"),
    Column("covered_s", Double),
    Column("expected_s", Double),
    created_column("judged_at"),
    Column("whole_answer_id", BigInteger, ForeignKey("nightreel.whole_answers.id", ondelete="CASCADE")),
    CheckConstraint("state IN ('answered', 'unknown', 'error')", name="state"),
    CheckConstraint("severity BETWEEN 1 AND 4", name="severity"),
    Index("video_verdicts_flagged_idx", "prompt_id", text("video_id DESC"), postgresql_where=text("flagged")),
    Index(
        "video_verdicts_whole_answer_id_idx",
        "whole_answer_id",
        postgresql_where=text("whole_answer_id IS NOT NULL"),
    ),
    # What is flagged or not known, by severity.
    Index("video_verdicts_found_idx", "severity", "video_id", postgresql_where=text("flagged OR state <> 'answered'")),
    Index("video_verdicts_restricts_idx", "video_id", postgresql_where=text("restricts")),
)
