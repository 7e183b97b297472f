"""What people ask for in the console and over REST."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, Index, Table, Text, text

from nightreel.database.schema.columns import created_column, id_column, json_column, metadata, time_column

# A wish of a person that the role of the console may not carry out: a process of the worker's role does. `detail`
# depends on `kind`; one that ended does not say any more which video an erasure or a hold was about, and why.
# `outcome`: what was done, or why it was not (`failed`); null: it waits.
requests = Table(
    "requests",
    metadata,
    id_column(),
    Column("kind", Text, nullable=False),
    json_column("detail", nullable=False),
    Column("user_id", BigInteger, ForeignKey("nightreel.users.id"), nullable=False),
    created_column("asked_at"),
    time_column("ended_at"),
    Column("outcome", Text),
    Column("failed", Boolean, nullable=False, server_default="false"),
    CheckConstraint(
        "kind IN ('retry', 'backfill', 'policy', 'erase', 'hold', 'end_hold', 'golden', 'end_golden')", name="kind"
    ),
    CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name="outcome"),
    Index("requests_waiting_idx", "id", postgresql_where=text("ended_at IS NULL")),
)
