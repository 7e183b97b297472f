"""What people judge, and what they decided: queues, cases, findings, decisions, events."""

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
    UniqueConstraint,
    Uuid,
    text,
)

from nightreel.database.schema.columns import created_column, id_column, json_column, metadata, time_column

# A queue by its name. What it takes and who works it is in the newest row of `queue_policies`.
queues = Table("queues", metadata, id_column(), Column("name", Text, nullable=False), UniqueConstraint("name"))

# All queues in their order (domain.Queues), one row for each time that other ones came into force. `progress`: the
# videos up to this one are sorted into them; `applied_at`: when all were.
queue_policies = Table(
    "queue_policies",
    metadata,
    id_column(),
    json_column("definition", nullable=False),
    Column("hash", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    created_column("since"),
    Column("progress", BigInteger, nullable=False, server_default="0"),
    time_column("applied_at"),
)

# One content in one queue. `content`: its SHA-256, or "video:" and a number if that is not known. A trigger gives
# `state` the value of the newest event. `severity`: the highest of its findings. `version` grows with each change of
# what is to be judged. The columns from `taken_by` on are the lock: who has the case until when, on hold until when,
# kept for whom, and who skipped it. `golden_id`, `golden_for`: the case of a golden item for one person; its content is
# "golden:", the number of the item, ":" and that of the person.
cases = Table(
    "cases",
    metadata,
    id_column(),
    Column("queue_id", BigInteger, ForeignKey("nightreel.queues.id"), nullable=False),
    Column("content", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="empty"),
    Column("severity", Integer, nullable=False, server_default="0"),
    Column("version", Integer, nullable=False, server_default="0"),
    created_column("opened_at"),
    created_column("changed_at"),
    Column("taken_by", BigInteger, ForeignKey("nightreel.users.id")),
    time_column("taken_at"),
    time_column("taken_until"),
    time_column("hold_until"),
    Column("assigned_to", BigInteger, ForeignKey("nightreel.users.id")),
    Column("skipped_by", ARRAY(BigInteger), nullable=False, server_default="{}"),
    Column("golden_id", BigInteger, ForeignKey("nightreel.golden_items.id")),
    Column("golden_for", BigInteger, ForeignKey("nightreel.users.id")),
    UniqueConstraint("queue_id", "content"),
    CheckConstraint("state IN ('open', 'second', 'escalated', 'appealed', 'closed', 'empty')", name="state"),
    CheckConstraint("severity BETWEEN 0 AND 4", name="severity"),
    CheckConstraint("num_nulls(taken_by, taken_at, taken_until) IN (0, 3)", name="taken"),
    CheckConstraint("num_nulls(golden_id, golden_for) IN (0, 2)", name="golden"),
    Index(
        "cases_waiting_idx",
        "queue_id",
        text("severity DESC"),
        "id",
        postgresql_where=text("state IN ('open', 'second')"),
    ),
    Index(
        "cases_of_leads_idx",
        "queue_id",
        text("severity DESC"),
        "id",
        postgresql_where=text("state IN ('escalated', 'appealed')"),
    ),
    Index("cases_taken_by_idx", "taken_by", postgresql_where=text("taken_by IS NOT NULL")),
    Index("cases_content_idx", "content"),
    Index(
        "cases_counted_idx",
        "queue_id",
        "state",
        "opened_at",
        postgresql_where=text("state IN ('open', 'second', 'escalated', 'appealed') AND golden_id IS NULL"),
    ),
    Index("cases_held_idx", "hold_until", postgresql_where=text("hold_until IS NOT NULL")),
    Index("cases_golden_idx", "golden_for", "golden_id", postgresql_where=text("golden_for IS NOT NULL")),
)

# What is to be judged in a case (domain.Finding).
findings = Table(
    "findings",
    metadata,
    Column("case_id", BigInteger, ForeignKey("nightreel.cases.id", ondelete="CASCADE"), primary_key=True),
    Column("prompt_id", BigInteger, ForeignKey("nightreel.prompts.id"), primary_key=True),
    Column("tag", Text, primary_key=True),
    Column("category", Text, nullable=False),
    Column("found", Text, nullable=False),
    Column("severity", Integer),
    Column("lane", Text),
    Column("reason", Text),
    Column("policy_id", BigInteger, ForeignKey("nightreel.policies.id"), nullable=False),
    Column("video_id", BigInteger, ForeignKey("nightreel.videos.id", ondelete="CASCADE"), nullable=False),
    json_column("evidence", nullable=False),
    CheckConstraint("found IN ('flagged', 'unknown', 'error', 'answered')", name="found"),
    CheckConstraint("severity BETWEEN 1 AND 4", name="severity"),
    Index("findings_video_id_idx", "video_id"),
)

# What happened to a case, only ever added to. `user_id`: null if Nightreel did it. `state`: of the case from then on.
case_events = Table(
    "case_events",
    metadata,
    id_column(),
    Column("case_id", BigInteger, ForeignKey("nightreel.cases.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("user_id", BigInteger, ForeignKey("nightreel.users.id")),
    created_column("at"),
    Column("batch_id", Uuid),
    json_column("detail"),
    CheckConstraint("state IN ('open', 'second', 'escalated', 'appealed', 'closed', 'empty')", name="state"),
    Index("case_events_case_id_idx", "case_id", "id"),
)

# What a person made of a label, only ever added to: triggers refuse any change. A row with `undoes` undoes another one,
# and has no ruling. `batch_id`: of all decisions that were made together. `settles`: with it, the label needs no other
# decision. `shown`: what was on show: the finding with its answers, policy and models. `queue_policy_id`: the queues in
# force.
decisions = Table(
    "decisions",
    metadata,
    id_column(),
    Column("batch_id", Uuid, nullable=False),
    Column("case_id", BigInteger, ForeignKey("nightreel.cases.id"), nullable=False),
    Column("content", Text, nullable=False),
    Column("prompt_id", BigInteger, ForeignKey("nightreel.prompts.id"), nullable=False),
    Column("tag", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("ruling", Text),
    Column("undoes", BigInteger, ForeignKey("nightreel.decisions.id")),
    Column("start_s", Double),
    Column("end_s", Double),
    Column("note", Text),
    Column("user_id", BigInteger, ForeignKey("nightreel.users.id"), nullable=False),
    created_column("decided_at"),
    Column("seconds_spent", Double),
    Column("needs_second", Boolean, nullable=False, server_default="false"),
    Column("settles", Boolean, nullable=False, server_default="false"),
    Column("appeal_id", BigInteger, ForeignKey("nightreel.case_events.id")),
    Column("queue_policy_id", BigInteger, ForeignKey("nightreel.queue_policies.id"), nullable=False),
    json_column("shown", nullable=False),
    UniqueConstraint("undoes"),
    CheckConstraint("ruling IN ('confirm', 'reject', 'unsure', 'escalate')", name="ruling"),
    CheckConstraint("(ruling IS NULL) = (undoes IS NOT NULL)", name="undoes"),
    CheckConstraint("stage IN ('first', 'second', 'escalation', 'appeal')", name="stage"),
    CheckConstraint("start_s >= 0 AND end_s >= start_s", name="range"),
    CheckConstraint("(stage = 'appeal') = (appeal_id IS NOT NULL)", name="appeal"),
    Index("decisions_label_idx", "content", "prompt_id", "tag", "id"),
    Index("decisions_case_id_idx", "case_id", "id"),
    Index("decisions_batch_id_idx", "batch_id"),
    Index("decisions_user_id_idx", "user_id", "id"),
)

# Who saw what, only ever added to. `video_id`: of a video that may be erased since. `blurred`: null: no picture was on
# show. `what`: `sheet_sent`: a browser got a contact sheet, to show it with a case then or later; else it was on show.
views_seen = Table(
    "views_seen",
    metadata,
    id_column(),
    Column("user_id", BigInteger, ForeignKey("nightreel.users.id"), nullable=False),
    created_column("seen_at"),
    Column("what", Text, nullable=False),
    Column("video_id", BigInteger),
    Column("case_id", BigInteger, ForeignKey("nightreel.cases.id")),
    Column("segment", Integer),
    Column("blurred", Boolean),
    CheckConstraint("what IN ('case', 'contact_sheet', 'frame', 'video', 'sheet_sent')", name="what"),
    CheckConstraint("what IN ('case', 'sheet_sent') OR blurred IS NOT NULL", name="blurred"),
    CheckConstraint("num_nonnulls(video_id, case_id) > 0", name="of"),
    Index("views_seen_video_id_idx", "video_id", "id"),
)
ADDED_TO = (case_events, decisions, views_seen)
"""The tables whose rows are never changed nor deleted. `nightreel.erase` alone blanks what people wrote in them."""
