"""An export as chunks: the same bytes as a file, made while they are read."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow.parquet as pq
import pytest

from nightreel.database.view_rows import Column
from nightreel.stages.export import Format, export_chunks, export_rows

COLUMNS = [Column("id", "bigint"), Column("said", "text"), Column("labels", "jsonb")]


def batches(count: int, taken: list[int] | None = None) -> Iterator[list[list]]:
    for number in range(count):
        if taken is not None:
            taken.append(number)
        yield [[number * 10 + row, f"=row, {row}\n日本語", {"a": [row]}] for row in range(10)]


@pytest.mark.parametrize("form", Format)
def test_chunks_are_the_bytes_of_the_file(form: Format):
    out = io.BytesIO()
    assert export_rows(batches(30), COLUMNS, out, form) == 300
    chunks = b"".join(export_chunks(batches(30), COLUMNS, form))
    if form is not Format.PARQUET:
        assert chunks == out.getvalue()
    assert form is not Format.PARQUET or pq.read_table(io.BytesIO(chunks)).equals(pq.read_table(out))


@pytest.mark.parametrize("form", [Format.CSV, Format.JSONL])
def test_each_batch_is_read_when_its_bytes_are_wanted(form: Format):
    taken: list[int] = []
    chunks = export_chunks(batches(30, taken), COLUMNS, form)
    next(chunks)
    assert taken == [0]
    next(chunks)
    assert taken == [0, 1]


def test_rows_of_parquet_leave_in_groups():
    chunks = list(export_chunks(batches(12_000), COLUMNS, Format.PARQUET))
    assert pq.ParquetFile(io.BytesIO(b"".join(chunks))).num_row_groups == 3
    assert len(chunks) >= 3
