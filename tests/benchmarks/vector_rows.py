"""Vectors of 300,000 segments, and searches by meaning among them: rows of `make bench-sql`.

Pure noise has no neighbours: in 128 dimensions, all of it is about as far apart. So the vectors are in 3,000 clusters,
as videos of the same things are: each is a centre with noise of the same length, and queries are made in the same way.
The right ten are those of all 300,000 cosines, of the numbers as they are stored.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import psycopg
from benchmarks.harness import Report, Row
from sqlalchemy import text

from nightreel.database.connection import Database
from nightreel.database.vectors import use_embedding_model
from nightreel.search import SearchBy, SearchFilters, SearchQuery, TextVector, search
from nightreel.services import open_services
from nightreel.settings import load_settings

SEGMENTS = 300_000
_SHIPPED, _LARGE = 128, 768
_CLUSTERS = 3000
_BATCH = 20_000
_QUERIES = 60
_NEAREST = 10
_SEARCH_MS, _INDEX_S, _RECALL = 150.0, 600.0, 0.95
# Share of the segments that a filter keeps: 1 %, and 10 %, which are too many to be compared one by one.
_FILTERS = {"": None, ", 1 % pass a filter": "keep1", ", 10 % pass a filter": "keep10"}
_FACTS = (
    "array_remove(ARRAY[CASE WHEN id % 100 = 7 THEN 'v::keep1' END, CASE WHEN id % 10 = 3 THEN 'v::keep10' END], NULL)"
)
_MORE_SEGMENTS = f"""
INSERT INTO nightreel.segments (video_id, plan_hash, index, start_s, end_s)
SELECT video.id, segment.plan_hash, number, number * 30, number * 30 + 30
FROM nightreel.videos AS video
JOIN nightreel.segments AS segment ON segment.video_id = video.id AND segment.index = 0
CROSS JOIN generate_series(1, {SEGMENTS} / (SELECT count(*) FROM nightreel.segments)::integer - 1) AS number
ORDER BY video.id;

INSERT INTO nightreel.documents (segment_id, video_id, terms)
SELECT id, video_id, '' FROM nightreel.segments WHERE index > 0 ORDER BY id;

UPDATE nightreel.documents SET facts = facts || {_FACTS.replace("id", "segment_id")}
WHERE segment_id % 100 = 7 OR segment_id % 10 = 3
"""


@dataclass(frozen=True, slots=True)
class _Stored:
    """The stored vectors, float32 (SEGMENTS, width), and their segments, ascending. `ids`: by video and number."""

    vectors: np.ndarray
    segment_ids: np.ndarray
    ids: dict[tuple[int, int], int]
    model_hash: str


def add_segments(database: Database) -> None:
    """Add segments to the videos of a database until there are 300,000."""
    with database.begin() as connection:
        for statement in _MORE_SEGMENTS.split(";\n"):
            connection.exec_driver_sql(statement.replace("%", "%%"))


def add_rows(report: Report, database: Database, reader: Database) -> None:
    """Measure both widths.

    Args:
        database: of the worker. reader: the same for the analyst.
    """
    for width in (_SHIPPED, _LARGE):
        stored = _fill(report, database, width)
        queries = _clustered(np.random.default_rng(1), _QUERIES, _centres(width)).astype(np.float32)
        for words, verdict in _FILTERS.items():
            _search(report, reader, stored, queries, words, verdict)


def _fill(report: Report, database: Database, width: int) -> _Stored:
    """Store the vectors, then make their index, as after a restore."""
    with database.begin() as connection:
        rows = connection.execute(text("SELECT video_id, index, id FROM nightreel.segments ORDER BY id")).all()
        ids = {(row.video_id, row.index): row.id for row in rows}
        segment_ids = np.array([*ids.values()])
        model_hash = f"{width:064d}"
        spec = {"name": f"bench-{width}", "revision": "1"}
        model_id = use_embedding_model(connection, model_hash=model_hash, spec=spec, width=width)
    draw, centres = np.random.default_rng(0), _centres(width)
    vectors = np.concatenate(
        [
            _clustered(draw, min(_BATCH, len(segment_ids) - start), centres)
            for start in range(0, len(segment_ids), _BATCH)
        ]
    ).astype(np.float16)
    index = f"nightreel.vectors_near_{model_id}_idx"
    with _owner() as owner:
        owner.execute(f"DROP INDEX {index}")
        _copy(owner, model_id, segment_ids, vectors)
        started = time.perf_counter()
        owner.execute("SELECT nightreel.index_vectors(%s)", [model_id])
        took_s = time.perf_counter() - started
        (size,) = owner.execute("SELECT pg_relation_size(%s::regclass)", [index]).fetchone()
        owner.execute("ANALYZE nightreel.vectors, nightreel.documents, nightreel.segments")
    note = f"{len(vectors):,} vectors of {width} numbers; {size >> 20} MiB"
    report.add(
        Row(f"vectors: index of {width}", took_s, _INDEX_S, "goal", "s", took_s / _INDEX_S, f"<= {_INDEX_S:g}",
            took_s <= _INDEX_S, note)
    )  # fmt: skip
    return _Stored(vectors.astype(np.float32), segment_ids, ids, model_hash)


def _copy(owner: psycopg.Connection, model_id: int, segment_ids: np.ndarray, vectors: np.ndarray) -> None:
    """COPY in Postgres's binary form: rows of a count of fields, then each field with its length."""
    width = vectors.shape[1]
    row = np.dtype(
        [("fields", ">i2"), ("l1", ">i4"), ("model", ">i8"), ("l2", ">i4"), ("segment", ">i8"), ("l3", ">i4"),
         ("width", ">i2"), ("unused", ">i2"), ("vector", ">f2", (width,))]
    )  # fmt: skip
    statement = "COPY nightreel.vectors (embedding_model_id, segment_id, vector) FROM STDIN (FORMAT binary)"
    with owner.cursor().copy(statement) as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for start in range(0, len(vectors), _BATCH):
            part = vectors[start : start + _BATCH]
            rows = np.zeros(len(part), row)
            rows["fields"], rows["l1"], rows["l2"], rows["l3"] = 3, 8, 8, 4 + 2 * width
            rows["model"], rows["segment"] = model_id, segment_ids[start : start + _BATCH]
            rows["width"], rows["vector"] = width, part
            copy.write(rows.tobytes())
        copy.write(b"\xff\xff")


def _search(
    report: Report, reader: Database, stored: _Stored, queries: np.ndarray, words: str, verdict: str | None
) -> None:
    passing = np.ones(len(stored.segment_ids), bool)
    if verdict == "keep1":
        passing = stored.segment_ids % 100 == 7
    elif verdict == "keep10":
        passing = stored.segment_ids % 10 == 3
    query = SearchQuery(text="bench", by=SearchBy.MEANING, filters=SearchFilters(verdict=verdict), limit=_NEAREST)
    times_ms, found = [], []
    for vector in queries:
        with reader.begin() as connection:
            started = time.perf_counter()
            page = search(connection, query, vector=TextVector(values=vector.tolist(), model_hash=stored.model_hash))
            times_ms.append((time.perf_counter() - started) * 1000)
        assert len(page.hits) == _NEAREST, f"{len(page.hits)} hits{words}: a filter starved the search"
        cosines = np.where(passing, stored.vectors @ vector.astype(np.float16).astype(np.float32), -1)
        exact = set(stored.segment_ids[np.argpartition(cosines, -_NEAREST)[-_NEAREST:]].tolist())
        found.append(len(exact & {stored.ids[hit.video_id, hit.segment] for hit in page.hits}) / _NEAREST)
    width = stored.vectors.shape[1]
    p95, recall = sorted(times_ms)[int(len(times_ms) * 0.95)], float(np.mean(found))
    note = f"median {sorted(times_ms)[len(times_ms) // 2]:.1f} ms, {passing.sum():,} segments pass"
    name = f"search by meaning: {width} numbers{words}"
    report.add(
        Row(name, p95, _SEARCH_MS, "goal", "ms", p95 / _SEARCH_MS, f"<= {_SEARCH_MS:g}", p95 <= _SEARCH_MS, note)
    )
    report.add(
        Row(f"{name}: recall of 10", recall, 1.0, "exact", "", recall, f">= {_RECALL}", recall >= _RECALL,
            "of the nearest ten, how many are found")
    )  # fmt: skip


def _centres(width: int) -> np.ndarray:
    return _normal(np.random.default_rng(width).standard_normal((_CLUSTERS, width)))


def _clustered(draw: np.random.Generator, count: int, centres: np.ndarray) -> np.ndarray:
    noise = _normal(draw.standard_normal((count, centres.shape[1])))
    return _normal(centres[draw.integers(0, _CLUSTERS, count)] + noise)


def _normal(vectors: np.ndarray) -> np.ndarray:
    normal: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return normal


def _owner() -> psycopg.Connection:
    with open_services(load_settings(), prefect=False) as endpoints, closing(Database(endpoints.owner_url)) as owner:
        url = owner.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(url, autocommit=True)
