"""Segments by meaning, read by `reporting.search_near`, which every role may call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, text

from nightreel.errors import SettingsError
from nightreel.search.query import SearchQuery

MOST_RANKED = 100
"""Segments that are ranked by meaning, and hits of each kind that are ranked together."""
_PARAMETERS = {
    "vector": "real[]", "like_video": "bigint", "like_segment": "integer", "embedding_model": "text", "prompt": "text",
    "verdict": "text", "min_severity": "integer", "min_p": "float8", "since": "timestamptz", "until": "timestamptz",
    "under": "text", "min_duration_s": "float8", "max_duration_s": "float8",
    "from_s": "float8", "to_s": "float8", "model": "text", "run": "bigint",
    "restricted": "boolean", "most": "integer", "as_of": "bigint",
}  # fmt: skip
_SEARCH = text(
    "SELECT * FROM reporting.search_near("  # noqa: S608 - names and types from this module
    + ", ".join(f"{name} => CAST(:{name} AS {kind})" for name, kind in _PARAMETERS.items())
    + ")"
)
_LACKS = text("SELECT reporting.search_near_lacks(:embedding_model)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextVector:
    """The vector of a query's text, and the hash of the model that made it (models.embedding.EncoderSpec.hash)."""

    values: Sequence[float]
    model_hash: str


def nearest(
    connection: Connection, query: SearchQuery, vector: TextVector | None, *, as_of: int | None
) -> Sequence[RowMapping]:
    """The segments nearest to the query's text or segment, the nearest first: at most `MOST_RANKED`.

    Args:
        vector: of the text; None for a segment.

    Raises:
        SettingsError: the database has no pgvector, or no vectors of that model.
    """
    model_hash = vector and vector.model_hash
    if lacks := connection.execute(_LACKS, {"embedding_model": model_hash}).scalar():
        raise SettingsError(f"there is no search by meaning: {lacks}")
    like_video, like_segment = query.like or (None, 0)
    return (
        connection.execute(
            _SEARCH,
            {
                "vector": None if vector is None else list(map(float, vector.values)),
                "like_video": like_video,
                "like_segment": like_segment,
                "embedding_model": model_hash,
                "most": MOST_RANKED,
                "as_of": as_of,
            }
            | query.filters.parameters(),
        )
        .mappings()
        .all()
    )
