"""Writes the rows of a view to a file: CSV, JSON Lines or Parquet. `nightreel export` calls it."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import pyarrow as pa
import pyarrow.parquet as pq

from nightreel.database.view_rows import Column

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""First characters of a cell that a spreadsheet takes for a formula. Source: OWASP, CSV Injection."""
_ROW_GROUP = 50_000
_ARROW: dict[str, pa.DataType] = {
    "bigint": pa.int64(),
    "integer": pa.int64(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp with time zone": pa.timestamp("us", tz="UTC"),
    "double precision[]": pa.list_(pa.float64()),
    "bigint[]": pa.list_(pa.int64()),
    "text[]": pa.list_(pa.string()),
}


class Format(StrEnum):
    """The form of an export: a file of rows."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


class Writer(Protocol):
    """Writes rows to a file that the caller closes."""

    def write(self, rows: Sequence[Sequence[Any]]) -> None: ...

    def finish(self) -> None: ...


def export_rows(
    batches: Iterator[Sequence[Sequence[Any]]],
    columns: Sequence[Column],
    out: BinaryIO,
    form: Format,
    *,
    on_rows: Callable[[int], None] = lambda _: None,
) -> int:
    """Write all rows. Returns their number.

    Args:
        form: one of those of files.
        on_rows: called with the number of rows so far.
    """
    writer = _WRITERS[form](out, columns)
    count = 0
    for batch in batches:
        writer.write(batch)
        count += len(batch)
        on_rows(count)
    writer.finish()
    return count


def export_chunks(
    batches: Iterator[Sequence[Sequence[Any]]], columns: Sequence[Column], form: Format
) -> Iterator[bytes]:
    """The bytes of an export as they are made, for a reader that takes them one after the other.

    Memory holds a batch, or a row group of Parquet.
    """
    out = _Drain()
    writer = _WRITERS[form](cast(BinaryIO, out), columns)
    for batch in batches:
        writer.write(batch)
        if data := out.take():
            yield data
    writer.finish()
    yield out.take()


class _Drain(io.RawIOBase):
    """A file that keeps what was written until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._size += len(self._parts[-1])
        return len(self._parts[-1])

    def take(self) -> bytes:
        """The bytes since the last call."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` at the end of the block. After an error, nothing is left of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class _Csv:
    """With a header. Text that a spreadsheet would take for a formula starts with an apostrophe."""

    def __init__(self, out: BinaryIO, columns: Sequence[Column]) -> None:
        self._text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
        self._rows = csv.writer(self._text)
        self._is_text = [column.type == "text" for column in columns]
        self._rows.writerow([column.name for column in columns])

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            self._rows.writerow(
                _without_formula(value) if is_text else _cell(value)
                for value, is_text in zip(row, self._is_text, strict=True)
            )

    def finish(self) -> None:
        self._text.flush()
        self._text.detach()


class _JsonLines:
    """An object for each row."""

    def __init__(self, out: BinaryIO, columns: Sequence[Column]) -> None:
        self._out = out
        self._names = [column.name for column in columns]

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        lines = (
            json.dumps(dict(zip(self._names, row, strict=True)), ensure_ascii=False, default=plain_value)
            for row in rows
        )
        self._out.write("".join(f"{line}\n" for line in lines).encode())

    def finish(self) -> None:
        pass


class _Parquet:
    """Types as in Postgres; JSON is a string."""

    def __init__(self, out: BinaryIO, columns: Sequence[Column]) -> None:
        self._schema = pa.schema([(column.name, _ARROW.get(column.type, pa.string())) for column in columns])
        self._as_json = [column.type not in (*_ARROW, "text") for column in columns]
        self._file = pq.ParquetWriter(out, self._schema, compression="zstd")
        self._waiting: list[Sequence[Any]] = []

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        self._waiting.extend(rows)
        if len(self._waiting) >= _ROW_GROUP:
            self._write_group()

    def finish(self) -> None:
        if self._waiting:
            self._write_group()
        self._file.close()

    def _write_group(self) -> None:
        columns = [
            pa.array([_json(value) if as_json else value for value in values], type=field.type)
            for values, as_json, field in zip(
                zip(*self._waiting, strict=True), self._as_json, self._schema, strict=True
            )
        ]
        self._file.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._waiting.clear()


_WRITERS: dict[Format, Callable[[BinaryIO, Sequence[Column]], Writer]] = {
    Format.CSV: _Csv,
    Format.JSONL: _JsonLines,
    Format.PARQUET: _Parquet,
}


def _without_formula(value: str | None) -> str | None:
    """
    >>> _without_formula("=HYPERLINK(1)"), _without_formula("a cat")
    ("'=HYPERLINK(1)", 'a cat')
    """
    return f"'{value}" if value and value.startswith(_FORMULA) else value


def _cell(value: Any) -> Any:
    return (
        json.dumps(value, ensure_ascii=False, default=plain_value)
        if isinstance(value, dict | list)
        else plain_value(value)
    )


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, default=plain_value)


def plain_value(value: Any) -> Any:
    """A value of a row as JSON has it. Times are ISO 8601.

    >>> plain_value(Decimal(3)), plain_value(date(2026, 11, 27)), plain_value("x")
    (3, '2026-11-27', 'x')
    """
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value.isoformat() if isinstance(value, datetime | date) else value
