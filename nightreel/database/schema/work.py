"""Runs, the videos that they find, and the work on these."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)

from nightreel.database.schema.columns import KEY, created_column, id_column, json_column, metadata, time_column

# A run is alive while `alive_until` is ahead: its heartbeats move it (database.runs). `night_id`: of a helper, the run
# whose backlog it works on. `listed_at`: when a run with helpers had listed its source. `ready_by`: when it must be
# done.
runs = Table(
    "runs",
    metadata,
    id_column(),
    Column("flow_run_id", Text),
    Column("source", Text, nullable=False),
    Column("recipe_id", BigInteger, ForeignKey("nightreel.recipes.id"), nullable=False),
    Column("status", Text, nullable=False, server_default="running"),
    created_column("started_at"),
    time_column("finished_at"),
    json_column("options", nullable=False),
    json_column("settings", nullable=False),
    json_column("environment", nullable=False),
    json_column("counts"),
    json_column("timings"),
    Column("error", Text),
    Column("shard_id", BigInteger, ForeignKey("nightreel.backfill_shards.id")),
    Column("name", Text),
    time_column("alive_until"),
    Column("night_id", BigInteger, ForeignKey("nightreel.runs.id")),
    time_column("listed_at"),
    time_column("ready_by"),
    CheckConstraint("status IN ('running', 'completed', 'failed', 'cancelled', 'crashed')", name="status"),
    Index("runs_night_id_idx", "night_id", postgresql_where=text("night_id IS NOT NULL")),
)

# One version of one object. `replaced_at` is set when another version is found under the same key, `gone_at` when a
# sweep finds none. `expected_s` are the seconds that the file should hold (null: not known): more than `duration_s` if
# it is cut off. `restricted`: only some people may see it; triggers on verdicts keep it. Rows of `videos` and of
# `analyses` change several times each: these tables are vacuumed when 2 % of their rows are dead, not 20 % (a storage
# parameter, which SQLAlchemy does not support for tables: sql/migrations sets it).
videos = Table(
    "videos",
    metadata,
    id_column(),
    Column("uri", KEY, nullable=False),
    Column("etag", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("modified_at", DateTime(timezone=True), nullable=False),
    Column("content_sha256", Text),
    Column("duration_s", Double),
    json_column("probe"),
    created_column("discovered_at"),
    Column("run_id", BigInteger, ForeignKey("nightreel.runs.id"), nullable=False),
    time_column("replaced_at"),
    time_column("gone_at"),
    Column("expected_s", Double),
    Column("restricted", Boolean, nullable=False, server_default="false"),
    UniqueConstraint("uri", "etag"),
    # Includes all columns that a page of the listing is compared with: discovery reads no rows of known videos.
    Index(
        "videos_current_uri_key",
        "uri",
        unique=True,
        postgresql_include=["id", "etag", "gone_at", "discovered_at"],
        postgresql_where=text("replaced_at IS NULL"),
    ),
    Index("videos_replaced_idx", "id", postgresql_where=text("replaced_at IS NOT NULL")),
    Index("videos_content_sha256_idx", "content_sha256", postgresql_where=text("content_sha256 IS NOT NULL")),
)

# The work: a video under a recipe. `covered_s` are the seconds of the video that its answers have seen, written when a
# claim ends. `reopened` counts how often the hourly retry put it back. `uri` repeats the video's
# key, so that one index finds the next claims by recipe and range of keys, with any amount of other pending work, and
# `modified_at` the video's, so that another finds the newest.
# `attempts` counts tries that failed, and the current one. `suspect`: a run died while it held the video, so the next
# run claims it alone. `crashes` counts runs that died while they held nothing else.
analyses = Table(
    "analyses",
    metadata,
    id_column(),
    Column("video_id", BigInteger, ForeignKey("nightreel.videos.id"), nullable=False),
    Column("recipe_id", BigInteger, ForeignKey("nightreel.recipes.id"), nullable=False),
    Column("status", Text, nullable=False, server_default="pending"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("run_id", BigInteger, ForeignKey("nightreel.runs.id")),
    time_column("lease_expires_at"),
    Column("not_before", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("content_sha256", Text),
    Column("segments", Integer),
    Column("reused", Boolean, nullable=False, server_default="false"),
    Column("reason", Text),
    Column("detail", Text),
    created_column(),
    created_column("updated_at"),
    Column("reopened", Integer, nullable=False, server_default="0"),
    Column("uri", KEY, nullable=False),
    Column("covered_s", Double),
    Column("crashes", Integer, nullable=False, server_default="0"),
    Column("suspect", Boolean, nullable=False, server_default="false"),
    time_column("modified_at"),
    UniqueConstraint("video_id", "recipe_id"),
    CheckConstraint("status IN ('pending', 'claimed', 'done', 'partly_done', 'failed', 'quarantined')", name="status"),
    Index("analyses_pending_idx", "recipe_id", "uri", postgresql_where=text("status = 'pending'")),
    Index(
        "analyses_pending_newest_idx",
        "recipe_id",
        text("modified_at DESC"),
        "uri",
        postgresql_where=text("status = 'pending' AND modified_at IS NOT NULL"),
    ),
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
    # The same bytes under two keys are analysed once: the second claim waits for the first (claims.take_contents).
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
    created_column("failed_at"),
)

# A window of a video under a sampling plan. `promised_s` are the seconds that the window should hold, if the file ends
# too early; else null.
segments = Table(
    "segments",
    metadata,
    id_column(),
    Column("video_id", BigInteger, ForeignKey("nightreel.videos.id"), nullable=False),
    Column("plan_hash", Text, nullable=False),
    Column("index", Integer, nullable=False),
    Column("start_s", Double, nullable=False),
    Column("end_s", Double, nullable=False),
    Column("promised_s", Double),
    UniqueConstraint("video_id", "plan_hash", "index"),
)
