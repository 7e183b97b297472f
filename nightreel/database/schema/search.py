"""What search reads: the words and the vector of each segment."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR

from nightreel.database.schema.columns import created_column, id_column, json_column, metadata

# The words of a segment's answers on show (sql/views/15_search_words.sql). Weights: A tags and choices, B captions, C
# texts. `facts`: what filters ask (16_search_facts.sql). `texts_hash`: of the texts and languages behind `terms`, which
# are made again only if it changes; an upgrade that changes how terms are made empties it. The index takes new rows
# immediately (fastupdate = off): else each search would read those that wait.
documents = Table(
    "documents",
    metadata,
    Column("segment_id", BigInteger, ForeignKey("nightreel.segments.id", ondelete="CASCADE"), primary_key=True),
    Column("video_id", BigInteger, nullable=False),
    Column("terms", TSVECTOR, nullable=False),
    Column("facts", ARRAY(Text), nullable=False, server_default="{}"),
    Column("texts_hash", LargeBinary),
    created_column("updated_at"),
    Index("documents_video_id_idx", "video_id"),
    Index(
        "documents_terms_facts_idx",
        "terms",
        "facts",
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    ),
)

# One row: the languages whose stems are in the documents, and how far these are made (the id of the last video; null:
# all are).
search_index = Table(
    "search_index",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("languages", ARRAY(Text), nullable=False),
    Column("indexed_up_to", BigInteger),
    CheckConstraint("id = 1", name="id"),
)

# The models that made vectors. `spec`: models.embedding.EncoderSpec. `used_at`: when a run last began to use it.
embedding_models = Table(
    "embedding_models",
    metadata,
    id_column(),
    Column("hash", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("width", Integer, nullable=False),
    json_column("spec", nullable=False),
    created_column(),
    created_column("used_at"),
    CheckConstraint("width BETWEEN 1 AND 4000", name="width"),
)

# The vectors of segments, one a model. Their column `vector` is not here: it is of a type of pgvector, and only where
# that is installed (sql/views/19_search_near.sql). So is an index for each model (nightreel.index_vectors).
vectors = Table(
    "vectors",
    metadata,
    Column("embedding_model_id", BigInteger, ForeignKey("nightreel.embedding_models.id"), primary_key=True),
    Column("segment_id", BigInteger, ForeignKey("nightreel.segments.id", ondelete="CASCADE"), primary_key=True),
    created_column("made_at"),
    Index("vectors_segment_id_idx", "segment_id"),
)
