"""What is seen: the index of the feature cache, and the keys that sign its files."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)

from nightreel.database.schema.columns import created_column, id_column, metadata

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
    created_column(),
    created_column("last_used_at"),
    Column("content_sha256", Text),
    Column("plan", Text),
    Column("model_id", BigInteger, ForeignKey("nightreel.models.id")),
    Column("evictions", Integer, nullable=False, server_default="0"),
    Column("covered_s", Double),
    Index("features_content_sha256_idx", "content_sha256", postgresql_where=text("content_sha256 IS NOT NULL")),
    Index("features_least_recently_used_idx", "last_used_at", "key", postgresql_where=text("uri IS NOT NULL")),
)

# The secret keys with which files of features are signed; the newest one signs, all of them verify. No view shows them.
cache_keys = Table(
    "cache_keys",
    metadata,
    id_column(),
    Column("secret", LargeBinary, nullable=False),
    created_column(),
    CheckConstraint("octet_length(secret) >= 32", name="secret"),
)
