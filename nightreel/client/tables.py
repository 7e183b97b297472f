"""Rows of JSON as Arrow tables, with the types of their columns in Postgres."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

_TYPES: Mapping[str, pa.DataType] = {
    "bigint": pa.int64(),
    "integer": pa.int64(),
    "numeric": pa.float64(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
    "double precision[]": pa.list_(pa.float64()),
    "bigint[]": pa.list_(pa.int64()),
    "text[]": pa.list_(pa.string()),
}
_TIMES: Mapping[str, pa.DataType] = {"timestamp with time zone": pa.timestamp("us", tz="UTC"), "date": pa.date32()}
HITS = pa.schema(
    [
        ("video_id", pa.int64()),
        ("uri", pa.string()),
        ("segment", pa.int64()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("rank", pa.float64()),
        ("prompt", pa.string()),
        ("text", pa.string()),
        ("marks", pa.list_(pa.list_(pa.int64()))),
    ]
)


def table_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[Mapping[str, str]]) -> pa.Table:
    """Rows with the types of their view. JSON columns are text."""
    arrays = {column["name"]: _array([row[column["name"]] for row in rows], column["type"]) for column in columns}
    return pa.table(arrays)


def _array(values: Sequence[Any], kind: str) -> pa.Array:
    """
    >>> _array(["2026-11-27T12:00:00+00:00", None], "timestamp with time zone").type
    TimestampType(timestamp[us, tz=UTC])
    """
    if kind in _TIMES:
        return pa.array(values, pa.string()).cast(_TIMES[kind])
    if kind in _TYPES:
        return pa.array(values, _TYPES[kind])
    return pa.array([one if one is None or isinstance(one, str) else json.dumps(one) for one in values], pa.string())
