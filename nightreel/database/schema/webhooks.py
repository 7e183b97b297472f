"""Who is told about flags, and what is to be told: webhooks and the outbox of their deliveries."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from nightreel.database.schema.columns import created_column, id_column, json_column, metadata, time_column

# A receiver of events. `secret` signs them. `set_name`, `prompt` and `least_severity` choose events; null: all.
# `restricted`: it gets events about restricted videos too. `disabled_at`: since when it gets none, and why.
# `old_secret` signs too, until then. `paused_until`: its receiver asked for no request before that.
webhooks = Table(
    "webhooks",
    metadata,
    id_column(),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("set_name", Text),
    Column("prompt", Text),
    Column("least_severity", Integer),
    Column("restricted", Boolean, nullable=False, server_default="false"),
    created_column(),
    time_column("disabled_at"),
    Column("disabled_reason", Text),
    Column("old_secret", Text),
    time_column("old_secret_until"),
    time_column("paused_until"),
    CheckConstraint("least_severity BETWEEN 1 AND 4", name="least_severity"),
    CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="disabled"),
    CheckConstraint("(old_secret IS NULL) = (old_secret_until IS NULL)", name="old_secret"),
)

# An event for one webhook. It is written in the transaction that changes the flag, and sent later: `next_at` is the
# next attempt while `state` is waiting. `dead`: all attempts failed. `dropped`: it must not be sent, and has no payload
# any more. `status` and `error` are of the last attempt.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    id_column(),
    Column("event_id", Text, nullable=False),
    Column("webhook_id", BigInteger, ForeignKey("nightreel.webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("video_id", BigInteger, ForeignKey("nightreel.videos.id", ondelete="CASCADE"), nullable=False),
    Column("type", Text, nullable=False),
    json_column("payload"),
    Column("state", Text, nullable=False, server_default="waiting"),
    created_column(),
    Column("attempts", Integer, nullable=False, server_default="0"),
    created_column("next_at"),
    time_column("ended_at"),
    Column("status", Integer),
    Column("error", Text),
    UniqueConstraint("event_id", "webhook_id"),
    CheckConstraint("state IN ('waiting', 'delivered', 'dead', 'dropped')", name="state"),
    CheckConstraint("(state = 'waiting') = (ended_at IS NULL)", name="ended_at"),
    CheckConstraint("(state = 'dropped') = (payload IS NULL)", name="payload"),
    # Of one webhook, so that the backlog of another one costs nothing.
    Index("webhook_deliveries_waiting_idx", "webhook_id", "next_at", "id", postgresql_where=text("state = 'waiting'")),
    Index("webhook_deliveries_dead_idx", "webhook_id", "id", postgresql_where=text("state = 'dead'")),
    Index("webhook_deliveries_ended_idx", "ended_at", postgresql_where=text("state IN ('delivered', 'dropped')")),
    Index("webhook_deliveries_video_id_idx", "video_id"),
)
