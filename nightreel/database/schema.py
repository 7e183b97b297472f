"""The current tables of schema `nightreel`. sql/migrations makes them.

Analysts never see these tables: they read the views of schema `reporting` (sql/views).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    schema="nightreel",
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    },
)

_KEY = Text(collation="C")
"""Keys of objects, in the byte order in which storage lists them, independent of the database's collation."""


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def _created(name: str = "created_at") -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def _time(name: str) -> Column[Any]:
    return Column(name, DateTime(timezone=True))


def _json(name: str, *, nullable: bool = True) -> Column[Any]:
    return Column(name, JSONB(none_as_null=True), nullable=nullable)


# A model as it was loaded. `spec` is models.base.ModelSpec.
models = Table(
    "models",
    metadata,
    _id(),
    Column("hash", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("revision", Text, nullable=False),
    _json("spec", nullable=False),
    _created(),
)

# What a model is asked about a segment. `definition` is domain.Question.
questions = Table(
    "questions",
    metadata,
    _id(),
    Column("hash", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("choices", ARRAY(Text), nullable=False),
    _json("definition", nullable=False),
    _created(),
)

# A prompt: set and name identify it. Its question and its policy are those in force.
prompts = Table(
    "prompts",
    metadata,
    _id(),
    Column("set_name", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("question_id", BigInteger, ForeignKey("nightreel.questions.id"), nullable=False),
    Column("policy_id", BigInteger, ForeignKey("nightreel.policies.id", use_alter=True)),
    _created(),
    UniqueConstraint("set_name", "name"),
)

# The policies of a prompt, one row for each time that one came into force. `definition` is domain.Policy. `progress`:
# how far the stored answers are judged by it (database.policies); `applied_at`: when all were.
policies = Table(
    "policies",
    metadata,
    _id(),
    Column("prompt_id", BigInteger, ForeignKey("nightreel.prompts.id"), nullable=False),
    Column("hash", Text, nullable=False),
    _json("definition", nullable=False),
    Column("origin", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    _created("since"),
    _json("progress"),
    _time("applied_at"),
    CheckConstraint("origin IN ('file', 'applied', 'upgrade')", name="origin"),
    Index("policies_prompt_id_idx", "prompt_id", "id"),
)

# A model, a sampling plan and prompts: what answers depend on. `recipe_prompts` has the prompts.
recipes = Table(
    "recipes",
    metadata,
    _id(),
    Column("hash", Text, nullable=False, unique=True),
    Column("model_id", BigInteger, ForeignKey("nightreel.models.id"), nullable=False),
    Column("plan_hash", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("window_s", Double, nullable=False),
    _created(),
)

# The prompts of a recipe in their order, with the questions that it asks.
recipe_prompts = Table(
    "recipe_prompts",
    metadata,
    Column("recipe_id", BigInteger, ForeignKey("nightreel.recipes.id"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("prompt_id", BigInteger, ForeignKey("nightreel.prompts.id"), nullable=False),
    Column("question_id", BigInteger, ForeignKey("nightreel.questions.id"), nullable=False),
    UniqueConstraint("recipe_id", "prompt_id"),
)

# The recipe whose answers are on show, for the videos below a source and the prompts of a set. `shown_up_to`: the id of
# the last video whose answers were chosen again since the row changed; null: all were.
current_recipes = Table(
    "current_recipes",
    metadata,
    Column("source", Text, primary_key=True),
    Column("set_name", Text, primary_key=True),
    Column("recipe_id", BigInteger, ForeignKey("nightreel.recipes.id"), nullable=False),
    Column("made_by", Text, nullable=False),
    _created("since"),
    Column("shown_up_to", BigInteger),
)

# Shipped prompt sets that keep the meaning that they had when this database was made by an earlier version.
kept_prompt_sets = Table(
    "kept_prompt_sets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("means", Text, nullable=False),
)

# Old videos to analyse. An engineer accepted the estimated cost (`plan`); shards process the videos.
# `model` is the setting that selects the recipe's model.
backfills = Table(
    "backfills",
    metadata,
    _id(),
    Column("source", Text, nullable=False),
    _time("since"),
    _time("until"),
    Column("recipe_id", BigInteger, ForeignKey("nightreel.recipes.id"), nullable=False),
    Column("model", Text, nullable=False),
    Column("pool", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="running"),
    _json("plan", nullable=False),
    _created(),
    _time("finished_at"),
    CheckConstraint("status IN ('running', 'paused', 'cancelled', 'done', 'failed')", name="status"),
)

# A range of keys, `after_uri` < key <= `up_to_uri`, that one flow run processes. `attempts` counts runs that broke.
backfill_shards = Table(
    "backfill_shards",
    metadata,
    _id(),
    Column("backfill_id", BigInteger, ForeignKey("nightreel.backfills.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("after_uri", _KEY, nullable=False),
    Column("up_to_uri", _KEY, nullable=False),
    Column("videos", Integer, nullable=False),
    Column("status", Text, nullable=False, server_default="waiting"),
    Column("submissions", Integer, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("not_before", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("flow_run_id", Text),
    Column("detail", Text),
    Column("done", Integer),
    Column("failed", Integer),
    _time("finished_at"),
    UniqueConstraint("backfill_id", "number"),
    CheckConstraint("status IN ('waiting', 'submitted', 'done', 'failed')", name="status"),
)

# A run is alive while `alive_until` is ahead: its heartbeats move it (database.runs).
runs = Table(
    "runs",
    metadata,
    _id(),
    Column("flow_run_id", Text),
    Column("source", Text, nullable=False),
    Column("recipe_id", BigInteger, ForeignKey("nightreel.recipes.id"), nullable=False),
    Column("status", Text, nullable=False, server_default="running"),
    _created("started_at"),
    _time("finished_at"),
    _json("options", nullable=False),
    _json("settings", nullable=False),
    _json("environment", nullable=False),
    _json("counts"),
    _json("timings"),
    Column("error", Text),
    Column("shard_id", BigInteger, ForeignKey("nightreel.backfill_shards.id")),
    Column("name", Text),
    _time("alive_until"),
    CheckConstraint("status IN ('running', 'completed', 'failed', 'cancelled', 'crashed')", name="status"),
)

# One version of one object. `replaced_at` is set when another version is found under the same key, `gone_at` when a
# sweep finds none. `expected_s` are the seconds that the file should hold (null: not known): more than `duration_s` if
# it is cut off. Rows of `videos` and `analyses` change several times each: these tables are vacuumed when 2 % of
# their rows are dead, not 20 % (a storage parameter, which SQLAlchemy does not support for tables: sql/migrations sets
# it).
videos = Table(
    "videos",
    metadata,
    _id(),
    Column("uri", _KEY, nullable=False),
    Column("etag", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("modified_at", DateTime(timezone=True), nullable=False),
    Column("content_sha256", Text),
    Column("duration_s", Double),
    _json("probe"),
    _created("discovered_at"),
    Column("run_id", BigInteger, ForeignKey("nightreel.runs.id"), nullable=False),
    _time("replaced_at"),
    _time("gone_at"),
    Column("expected_s", Double),
    UniqueConstraint("uri", "etag"),
    # Includes all columns that a page of the listing is compared with: discovery reads no rows of known videos.
    Index(
        "videos_current_uri_key",
        "uri",
        unique=True,
        postgresql_include=["id", "etag", "gone_at", "discovered_at"],
        postgresql_where=text("replaced_at IS NULL"),
    ),
    Index("videos_content_sha256_idx", "content_sha256", postgresql_where=text("content_sha256 IS NOT NULL")),
)

# The work: a video under a recipe. `covered_s` are the seconds of the video that its answers have seen, written when a
# claim ends. `reopened` counts how often the hourly retry put it back. `uri` repeats the video's
# key, so that one index finds the next claims by recipe and range of keys, with any amount of other pending work.
# `attempts` counts tries that failed, and the current one. `suspect`: a run died while it held the video, so the next
# run claims it alone. `crashes` counts runs that died while they held nothing else.
analyses = Table(
    "analyses",
    metadata,
    _id(),
    Column("video_id", BigInteger, ForeignKey("nightreel.videos.id"), nullable=False),
    Column("recipe_id", BigInteger, ForeignKey("nightreel.recipes.id"), nullable=False),
    Column("status", Text, nullable=False, server_default="pending"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("run_id", BigInteger, ForeignKey("nightreel.runs.id")),
    _time("lease_expires_at"),
    Column("not_before", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("content_sha256", Text),
    Column("segments", Integer),
    Column("reused", Boolean, nullable=False, server_default="false"),
    Column("reason", Text),
    Column("detail", Text),
    _created(),
    _created("updated_at"),
    Column("reopened", Integer, nullable=False, server_default="0"),
    Column("uri", _KEY, nullable=False),
    Column("covered_s", Double),
    Column("crashes", Integer, nullable=False, server_default="0"),
    Column("suspect", Boolean, nullable=False, server_default="false"),
    UniqueConstraint("video_id", "recipe_id"),
    CheckConstraint("status IN ('pending', 'claimed', 'done', 'partly_done', 'failed', 'quarantined')", name="status"),
    Index("analyses_pending_idx", "recipe_id", "uri", postgresql_where=text("status = 'pending'")),
    Index(
        "analyses_suspect_idx",
        "recipe_id",
        "crashes",
        "uri",
        postgresql_where=text("status = 'pending' AND suspect"),
    ),
    Index("analyses_claimed_idx", "run_id", "id", postgresql_where=text("status = 'claimed'")),
    Index(
        "analyses_failed_idx",
        "status",
        "reason",
        postgresql_where=text("status IN ('failed', 'quarantined', 'partly_done')"),
    ),
    Index("analyses_reopened_idx", "recipe_id", postgresql_where=text("status = 'pending' AND reopened > 0")),
    # The same bytes under two keys are analysed once: the second claim waits for the first (claims.take_content).
    Index(
        "analyses_content_in_work_key",
        "recipe_id",
        "content_sha256",
        unique=True,
        postgresql_where=text("status = 'claimed' AND content_sha256 IS NOT NULL"),
    ),
)

# A segment of an analysis that failed for good, and why. Written when the claim ends.
failed_segments = Table(
    "failed_segments",
    metadata,
    Column("analysis_id", BigInteger, ForeignKey("nightreel.analyses.id"), primary_key=True),
    Column("index", Integer, primary_key=True),
    Column("start_s", Double, nullable=False),
    Column("end_s", Double, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    _created("failed_at"),
)

# A window of a video under a sampling plan. `promised_s` are the seconds that the window should hold, if the file ends
# too early; else null.
segments = Table(
    "segments",
    metadata,
    _id(),
    Column("video_id", BigInteger, ForeignKey("nightreel.videos.id"), nullable=False),
    Column("plan_hash", Text, nullable=False),
    Column("index", Integer, nullable=False),
    Column("start_s", Double, nullable=False),
    Column("end_s", Double, nullable=False),
    Column("promised_s", Double),
    UniqueConstraint("video_id", "plan_hash", "index"),
)

# The index of the feature cache, with the frames that were really sampled, and the seconds of the segment that the good
# ones cover (null: stored by a version that did not measure it). A row outlives its file (`uri` is then
# null), so that every answer made from it can still be traced. Content, plan and model identify the work that can use
# it (null: unknown). `evictions` counts how often its file was deleted (database.features.record_features).
features = Table(
    "features",
    metadata,
    Column("key", Text, primary_key=True),
    Column("uri", Text),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("pts_s", ARRAY(Double), nullable=False),
    Column("damaged_frames", Integer, nullable=False),
    Column("decoder", Text, nullable=False),
    Column("decoder_version", Text, nullable=False),
    Column("thumbnail_uri", Text),
    _created(),
    _created("last_used_at"),
    Column("content_sha256", Text),
    Column("plan", Text),
    Column("model_id", BigInteger, ForeignKey("nightreel.models.id")),
    Column("evictions", Integer, nullable=False, server_default="0"),
    Column("covered_s", Double),
    Index("features_least_recently_used_idx", "last_used_at", "key", postgresql_where=text("uri IS NOT NULL")),
)

# The secret keys with which files of features are signed; the newest one signs, all of them verify. No view shows them.
cache_keys = Table(
    "cache_keys",
    metadata,
    _id(),
    Column("secret", LargeBinary, nullable=False),
    _created(),
    CheckConstraint("octet_length(secret) >= 32", name="secret"),
)

# What a model measured (domain.Answer), whole. `p` is judging.probability. `mass`: a number, or one for each tag. A
# superseded answer is history.
answers = Table(
    "answers",
    metadata,
    _id(),
    Column("segment_id", BigInteger, ForeignKey("nightreel.segments.id"), nullable=False),
    Column("question_id", BigInteger, ForeignKey("nightreel.questions.id"), nullable=False),
    Column("model_id", BigInteger, ForeignKey("nightreel.models.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("text", Text),
    Column("p", Double),
    _json("scores"),
    Column("reason", Text),
    Column("prompt_tokens", Integer, nullable=False),
    Column("generated_tokens", Integer, nullable=False),
    Column("feature_key", Text, ForeignKey("nightreel.features.key"), nullable=False),
    Column("reused_from", BigInteger, ForeignKey("nightreel.answers.id")),
    Column("run_id", BigInteger, ForeignKey("nightreel.runs.id"), nullable=False),
    _created("answered_at"),
    Column("superseded", Boolean, nullable=False, server_default="false"),
    _json("mass"),
    _json("bounds"),
    CheckConstraint("state IN ('measured', 'unmeasured', 'error')", name="state"),
    CheckConstraint("(state = 'measured') = (reason IS NULL)", name="reason"),
    CheckConstraint("p >= 0 AND p <= 1", name="p"),
    Index(
        "answers_segment_id_question_id_model_id_key",
        "segment_id",
        "question_id",
        "model_id",
        unique=True,
        postgresql_where=text("NOT superseded"),
    ),
    # Re-judging reads only the answers that a change of policy can touch.
    Index("answers_question_id_p_idx", "question_id", "p", "id"),
    Index("answers_bounded_idx", "question_id", "id", postgresql_where=text("bounds IS NOT NULL")),
)


def _verdict_columns() -> list[Column[Any]]:
    return [
        Column("state", Text, nullable=False),
        Column("text", Text),
        _json("value"),
        Column("reason", Text),
        _json("labels"),
        Column("severity", Integer),
        Column("lane", Text),
        Column("flagged", Boolean, nullable=False),
        Column("needs_review", Boolean, nullable=False),
    ]


# What an answer means for a prompt, by the policy that made it (domain.Verdict). The text of a caption is that of its
# answer. `due`: its condition holds. `shown`: it is the one on show for its segment and prompt; `outdated`: how its
# answer differs from what is asked now.
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
    _created("judged_at"),
    CheckConstraint("state IN ('answered', 'unknown', 'error')", name="state"),
    CheckConstraint("severity BETWEEN 1 AND 4", name="severity"),
    Index("verdicts_flagged_idx", "prompt_id", text("answer_id DESC"), postgresql_where=text("flagged AND shown")),
)

# What the verdicts on show of a video's segments say about the video (domain.VideoVerdict).
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
    Column("covered_s", Double),
    Column("expected_s", Double),
    _created("judged_at"),
    CheckConstraint("state IN ('answered', 'unknown', 'error')", name="state"),
    CheckConstraint("severity BETWEEN 1 AND 4", name="severity"),
    Index("video_verdicts_flagged_idx", "prompt_id", text("video_id DESC"), postgresql_where=text("flagged")),
)

# Requests for memory of a host's devices, waiting or granted. Rows that are not extended in time no longer count.
memory_leases = Table(
    "memory_leases",
    metadata,
    _id(),
    Column("host", Text, nullable=False),
    Column("limits", ARRAY(Text), nullable=False),
    Column("spread", Boolean, nullable=False),
    Column("mib", BigInteger, nullable=False),
    Column("granted", ARRAY(Text), nullable=False, server_default="{}"),
    Column("run_id", BigInteger, ForeignKey("nightreel.runs.id")),
    Column("pid", Integer, nullable=False),
    _created("requested_at"),
    _time("granted_at"),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("mib > 0", name="mib"),
)

# Memory peaks of a model's batches on a device: the largest of each shape, and the last that ran out of memory.
memory_peaks = Table(
    "memory_peaks",
    metadata,
    _id(),
    Column("model_id", BigInteger, ForeignKey("nightreel.models.id"), nullable=False),
    Column("device", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("shape", Text, nullable=False),
    Column("out_of_memory", Boolean, nullable=False),
    Column("segments", Integer, nullable=False),
    Column("estimated_bytes", BigInteger, nullable=False),
    Column("measured_bytes", BigInteger, nullable=False),
    Column("run_id", BigInteger, ForeignKey("nightreel.runs.id"), nullable=False),
    _created("measured_at"),
    UniqueConstraint("model_id", "device", "stage", "shape", "out_of_memory"),
    CheckConstraint("stage IN ('vision', 'language')", name="stage"),
    CheckConstraint("segments > 0 AND estimated_bytes > 0 AND measured_bytes >= 0", name="counts"),
)
