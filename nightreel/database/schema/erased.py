"""What was erased, and what must not be: erasures, their tombstones, legal holds."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, LargeBinary, Table, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB

from nightreel.database.schema.columns import KEY, created_column, id_column, metadata, time_column

# An erasure: that it was, not of what. `counts`: of what was removed or blanked.
erasures = Table(
    "erasures",
    metadata,
    id_column(),
    Column("kind", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    created_column("erased_at"),
    Column("counts", JSONB, nullable=False, server_default="{}"),
    CheckConstraint("kind IN ('asked', 'retention')", name="kind"),
)

# By what discovery recognises an object or a content that was erased (domain.TombstoneKey). `key_id`: of the secret.
tombstones = Table(
    "tombstones",
    metadata,
    Column("mac", LargeBinary, primary_key=True),
    Column("key_id", LargeBinary, nullable=False),
    Column("erasure_id", BigInteger, ForeignKey("nightreel.erasures.id"), nullable=False),
    CheckConstraint("octet_length(mac) = 32", name="mac"),
    CheckConstraint("octet_length(key_id) = 8", name="key_id"),
    Index("tombstones_key_id_idx", "key_id"),
)
ONLY_ERASE_WRITES = (erasures, tombstones)
"""The tables that nobody but `nightreel.erase` writes (sql/views/35_erase.sql)."""

# What must not be erased: an object, or a content. It counts until it is removed. If the video is erased after that,
# only who and when is left.
legal_holds = Table(
    "legal_holds",
    metadata,
    id_column(),
    Column("uri", KEY),
    Column("content_sha256", Text),
    Column("reason", Text),
    Column("made_by", Text, nullable=False),
    created_column(),
    time_column("removed_at"),
    Column("removed_by", Text),
    CheckConstraint("num_nonnulls(uri, content_sha256) <= 1", name="one"),
    CheckConstraint(
        "removed_at IS NOT NULL OR (num_nonnulls(uri, content_sha256) = 1 AND reason IS NOT NULL)", name="active"
    ),
    CheckConstraint("(removed_at IS NULL) = (removed_by IS NULL)", name="removed"),
    Index(
        "legal_holds_active_key",
        func.coalesce(text("uri"), text("content_sha256")),
        unique=True,
        postgresql_where=text("removed_at IS NULL"),
    ),
)
