"""People, and the tokens with which they call the REST service."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from nightreel.database.schema.columns import created_column, id_column, metadata, time_column

# A person or a program. `pseudonym`: the name that others see. `restricted`: may see restricted videos. A user who has
# decided something is disabled, not deleted.
users = Table(
    "users",
    metadata,
    id_column(),
    Column("name", Text, nullable=False),
    Column("pseudonym", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("restricted", Boolean, nullable=False, server_default="false"),
    created_column(),
    time_column("disabled_at"),
    UniqueConstraint("name"),
    UniqueConstraint("pseudonym"),
    CheckConstraint("role IN ('viewer', 'reviewer', 'lead', 'admin')", name="role"),
    CheckConstraint("name <> '' AND pseudonym <> ''", name="name"),
)

# A token is stored as its SHA-256 and cannot be read back. `shown`: its first characters, by which its user recognises
# it.
tokens = Table(
    "tokens",
    metadata,
    id_column(),
    Column("sha256", LargeBinary, nullable=False),
    Column("shown", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    created_column(),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    time_column("revoked_at"),
    time_column("last_used_at"),
    Column("user_id", BigInteger, ForeignKey("nightreel.users.id"), nullable=False),
    UniqueConstraint("sha256"),
    CheckConstraint("octet_length(sha256) = 32", name="sha256"),
)
