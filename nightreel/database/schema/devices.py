"""The memory of devices: who holds it, and how much a model's batches needed."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)

from nightreel.database.schema.columns import created_column, id_column, metadata, time_column

# Requests for memory of a host's devices, waiting or granted. Rows that are not extended in time no longer count.
memory_leases = Table(
    "memory_leases",
    metadata,
    id_column(),
    Column("host", Text, nullable=False),
    Column("limits", ARRAY(Text), nullable=False),
    Column("spread", Boolean, nullable=False),
    Column("mib", BigInteger, nullable=False),
    Column("granted", ARRAY(Text), nullable=False, server_default="{}"),
    Column("run_id", BigInteger, ForeignKey("nightreel.runs.id")),
    Column("pid", Integer, nullable=False),
    created_column("requested_at"),
    time_column("granted_at"),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("mib > 0", name="mib"),
)

# Memory peaks of a model's batches on a device: the largest of each shape, and the last that ran out of memory.
memory_peaks = Table(
    "memory_peaks",
    metadata,
    id_column(),
    Column("model_id", BigInteger, ForeignKey("nightreel.models.id"), nullable=False),
    Column("device", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("shape", Text, nullable=False),
    Column("out_of_memory", Boolean, nullable=False),
    Column("segments", Integer, nullable=False),
    Column("estimated_bytes", BigInteger, nullable=False),
    Column("measured_bytes", BigInteger, nullable=False),
    Column("run_id", BigInteger, ForeignKey("nightreel.runs.id"), nullable=False),
    created_column("measured_at"),
    UniqueConstraint("model_id", "device", "stage", "shape", "out_of_memory"),
    CheckConstraint("stage IN ('vision', 'language')", name="stage"),
    CheckConstraint("segments > 0 AND estimated_bytes > 0 AND measured_bytes >= 0", name="counts"),
)
