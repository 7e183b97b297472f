"""What search reads: the words of each segment."""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, Table, Text
from sqlalchemy.dialects.postgresql import TSVECTOR

from nightreel.database.schema.columns import created_column, metadata

# The words of a segment's answers on show (sql/views/15_search_words.sql). Weights: A tags and choices, B captions, C
# texts. `facts`: what filters ask (16_search_facts.sql). The index takes new rows immediately (fastupdate = off): else
# each search would read those that wait.
documents = Table(
    "documents",
    metadata,
    Column("segment_id", BigInteger, ForeignKey("nightreel.segments.id", ondelete="CASCADE"), primary_key=True),
    Column("video_id", BigInteger, nullable=False),
    Column("terms", TSVECTOR, nullable=False),
    Column("facts", ARRAY(Text), nullable=False, server_default="{}"),
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
