"""Who may call the REST service: its tokens."""

from __future__ import annotations

from sqlalchemy import ARRAY, CheckConstraint, Column, DateTime, LargeBinary, Table, Text, UniqueConstraint

from nightreel.database.schema.columns import created_column, id_column, metadata, time_column

# A token is stored as its SHA-256 and cannot be read back. `owner`: the name of a person or a program. `shown`: its
# first characters, by which its owner recognises it.
tokens = Table(
    "tokens",
    metadata,
    id_column(),
    Column("owner", Text, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("shown", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    created_column(),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    time_column("revoked_at"),
    time_column("last_used_at"),
    UniqueConstraint("sha256"),
    CheckConstraint("octet_length(sha256) = 32", name="sha256"),
    CheckConstraint("owner <> ''", name="owner"),
)
