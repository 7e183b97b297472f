"""Backfills and their shards."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    func,
)

from nightreel.database.schema.columns import KEY, created_column, id_column, json_column, metadata, time_column

# Old videos to analyse. An engineer accepted the estimated cost (`plan`); shards process the videos.
# `model` is the setting that selects the recipe's model.
backfills = Table(
    "backfills",
    metadata,
    id_column(),
    Column("source", Text, nullable=False),
    time_column("since"),
    time_column("until"),
    Column("recipe_id", BigInteger, ForeignKey("nightreel.recipes.id"), nullable=False),
    Column("model", Text, nullable=False),
    Column("pool", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="running"),
    json_column("plan", nullable=False),
    created_column(),
    time_column("finished_at"),
    CheckConstraint("status IN ('running', 'paused', 'cancelled', 'done', 'failed')", name="status"),
)

# A range of keys, `after_uri` < key <= `up_to_uri`, that one flow run processes. `attempts` counts runs that broke.
backfill_shards = Table(
    "backfill_shards",
    metadata,
    id_column(),
    Column("backfill_id", BigInteger, ForeignKey("nightreel.backfills.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("after_uri", KEY, nullable=False),
    Column("up_to_uri", KEY, nullable=False),
    Column("videos", Integer, nullable=False),
    Column("status", Text, nullable=False, server_default="waiting"),
    Column("submissions", Integer, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("not_before", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("flow_run_id", Text),
    Column("detail", Text),
    Column("done", Integer),
    Column("failed", Integer),
    time_column("finished_at"),
    UniqueConstraint("backfill_id", "number"),
    CheckConstraint("status IN ('waiting', 'submitted', 'done', 'failed')", name="status"),
)
