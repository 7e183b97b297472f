"""Read the entries in one file of an S3 Inventory: CSV, compressed with gzip, or Parquet. Used by `inventory.py`.

Files are read by rows or batches of rows. From a bucket with versions, only current versions are returned, and no
delete markers. In CSV, keys are encoded as in web forms: a space is a plus.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from nightreel.errors import PermanentError
from nightreel.reasons import Reason

_BATCH_ROWS = 4096
_BUFFER_BYTES = 1 << 20
_FORMATS = "expected CSV or Parquet: choose one of them in the inventory's configuration"
_NEEDED = ("key", "size", "last_modified_date", "e_tag")
_VERSIONS = ("is_latest", "is_delete_marker")
_FORM_OF_DATE = re.compile(r"[+-]?\d{4,}-\d\d-\d\d")
_NOT_CURRENT = {("is_latest", False), ("is_delete_marker", True)}
# The columns' names in CSV.
_NAMES = {
    "Key": "key",
    "Size": "size",
    "LastModifiedDate": "last_modified_date",
    "ETag": "e_tag",
    "IsLatest": "is_latest",
    "IsDeleteMarker": "is_delete_marker",
}


class Entry(NamedTuple):
    """A current object. `modified_at`: None if the calendar has no such date."""

    key: str
    size_bytes: int
    modified_at: datetime | None
    etag: str


def entry_reader(file_format: str, file_schema: str, *, manifest: str) -> Callable[[Path, str], Iterator[Entry]]:
    """Return a function that reads an inventory's files. It takes a path, and a name for messages.

    The function raises PermanentError `inventory_damaged` when a file does not have the expected format.

    Args:
        file_format, file_schema: from the manifest. manifest: its uri, for messages.

    Raises:
        PermanentError: `unsupported_inventory`: another format. `inventory_incomplete`: the inventory lacks a column
            that discovery needs.
    """
    match file_format.lower():
        case "csv":
            columns = [_NAMES.get(name.strip(), "") for name in file_schema.split(",")]
            _require(columns, manifest)
            return partial(_read_csv, columns)
        case "parquet":
            return _read_parquet
    raise PermanentError(Reason.UNSUPPORTED_INVENTORY, f"{manifest} has format {file_format!r}: {_FORMATS}")


def _require(columns: Collection[str], where: str) -> None:
    lacking = [name for name in _NEEDED if name not in columns]
    if lacking:
        raise PermanentError(
            Reason.INVENTORY_INCOMPLETE,
            f"{where} lacks {', '.join(lacking)}: add size, last modified date and ETag to the inventory's "
            "configuration",
        )


def _read_csv(columns: list[str], path: Path, name: str) -> Iterator[Entry]:
    key, size, modified, etag = (columns.index(column) for column in _NEEDED)
    latest, marker = (columns.index(column) if column in columns else None for column in _VERSIONS)
    try:
        if not path.stat().st_size:
            raise EOFError("it is empty")  # gzip would read an empty file as one without lines
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                if latest is not None and row[latest].lower() == "false":
                    continue
                if marker is not None and row[marker].lower() == "true":
                    continue
                yield Entry(
                    unquote_plus(row[key], errors="strict"),
                    int(row[size]),
                    _date(row[modified]),
                    row[etag].strip('"'),
                )
    except (OSError, EOFError, zlib.error, csv.Error, ValueError, IndexError) as error:
        raise _damaged(name, error) from error


def _read_parquet(path: Path, name: str) -> Iterator[Entry]:
    import pyarrow as pa
    import pyarrow.parquet as pq  # runs that list the source do not need it

    try:
        # With a buffer for each column, a row group is read step by step, not all at the same time.
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            _require(file.schema_arrow.names, name)
            versions = [column for column in _VERSIONS if column in file.schema_arrow.names]
            for batch in file.iter_batches(_BATCH_ROWS, columns=[*_NEEDED, *versions], use_threads=False):
                for key, size, modified, etag, *flags in zip(*map(_values, batch.columns), strict=True):
                    if flags and dict(zip(versions, flags, strict=True)).items() & _NOT_CURRENT:
                        continue
                    yield Entry(key, int(size), modified and _with_zone(modified), etag.strip('"'))
    except (pa.ArrowException, OSError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(name, error) from error


def _values(column: Any) -> list[Any]:
    """The values of a column; None for a date that Python's calendar does not have."""
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError):
        values = [_value(item) for item in column]
    return values


def _value(item: Any) -> Any:
    try:
        return item.as_py()
    except (ValueError, OverflowError):
        return None


def _date(text: str) -> datetime | None:
    """The date in a column; None if it has the form of one and the calendar does not have it.

    Raises:
        ValueError: it does not have the form of a date.
    """
    try:
        return _with_zone(datetime.fromisoformat(text))
    except ValueError:
        if _FORM_OF_DATE.match(text):
            return None
        raise


def _with_zone(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _damaged(where: str, error: Exception) -> PermanentError:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return PermanentError(
        Reason.INVENTORY_DAMAGED, f"{where} does not have its manifest's format ({said}): use another inventory"
    )
