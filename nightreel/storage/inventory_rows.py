"""Read the entries in one file of an S3 Inventory: CSV, compressed with gzip, or Parquet. Used by `inventory.py`.

Files are read by lines or batches of rows, each of bounded size. From a bucket with versions, only current versions are
returned, and no delete markers. In CSV, keys are encoded as in web forms: a space is a plus, and a line is one entry.

An entry that cannot be read is reported and left out. If there are many of these, and more than others, the file does
not have the format of its manifest.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from nightreel.errors import PermanentError
from nightreel.host_errors import host_error
from nightreel.reasons import Reason
from nightreel.storage.entries import LONGEST_ENTRY

_LONGEST_LINE = 64 << 10  # a key takes 3 KiB at most, and the other fields less
_LONGEST_BATCH = 64 << 20  # 1024 rows of Parquet as JSON
_MEMORY_MIB = 768  # of the process that reads Parquet, in addition to the libraries
_MOST_BAD = 10_000
_FORMATS = "expected CSV or Parquet: choose one of them in the inventory's configuration"
_NEEDED = ("key", "size", "last_modified_date", "e_tag")
_VERSIONS = ("is_latest", "is_delete_marker")
_FORM_OF_DATE = re.compile(r"[+-]?\d{4,}-\d\d-\d\d")
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


Rows = Iterator[Entry | str | None]
"""Entries, sentences about rows that cannot be read, and None for rows that are no current objects."""


def entry_reader(
    file_format: str, file_schema: str, *, manifest: str
) -> Callable[[Path, str, Callable[[str], None]], Iterator[Entry]]:
    """Return a function that reads an inventory's files. It takes a path, a name for messages, and `on_skipped`.

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
            _require([name for name in _NEEDED if name not in columns], manifest)
            return partial(_read, partial(_csv_rows, columns))
        case "parquet":
            return partial(_read, _parquet_rows)
    raise PermanentError(Reason.UNSUPPORTED_INVENTORY, f"{manifest} has format {file_format[:40]!r}: {_FORMATS}")


def _read(
    rows_of: Callable[[Path, str], Rows], path: Path, name: str, on_skipped: Callable[[str], None]
) -> Iterator[Entry]:
    """Yield the entries of a file; report the others, unless most of the file is like them."""
    good = bad = 0
    first = ""
    try:
        for row in rows_of(path, name):
            if not isinstance(row, str):
                good += 1
                if row is not None:
                    yield row
                continue
            bad += 1
            first = first or row
            if bad > max(_MOST_BAD, good):
                break
            on_skipped(f"{name}: {row}")
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise host_error(error) or _damaged(name, str(error) or type(error).__name__) from error
    if bad > max(_MOST_BAD, good) or (bad and not good):
        raise _damaged(name, first)


def _require(lacking: Collection[str], where: str) -> None:
    if lacking:
        raise PermanentError(
            Reason.INVENTORY_INCOMPLETE,
            f"{where} lacks {', '.join(lacking)}: add size, last modified date and ETag to the inventory's "
            "configuration",
        )


# -- CSV ---------------------------------------------------------------------------------------------------------


def _csv_rows(columns: list[str], path: Path, _: str) -> Rows:
    key, size, modified, etag = (columns.index(column) for column in _NEEDED)
    latest, marker = (columns.index(column) if column in columns else None for column in _VERSIONS)
    if not path.stat().st_size:
        raise EOFError("it is empty")  # gzip would read an empty file as one without lines
    texts: list[str] = []  # at most one; a reader that wants a second one for an entry gets an IndexError
    reader = csv.reader(iter(texts.pop, None), strict=True)
    with gzip.open(path) as file:
        number = 0
        while line := file.readline(_LONGEST_LINE + 1):
            number += 1
            if len(line) > _LONGEST_LINE:
                yield f"line {number} is longer than {_LONGEST_LINE:,} bytes"
                while line and not line.endswith(b"\n"):
                    line = file.readline(_LONGEST_LINE + 1)
                continue
            try:
                texts.append(line.decode())
                row = next(reader)
                if (latest is not None and row[latest].lower() == "false") or (
                    marker is not None and row[marker].lower() == "true"
                ):
                    yield None
                    continue
                entry = Entry(
                    unquote_plus(row[key], errors="strict"), int(row[size]), _date(row[modified]), row[etag].strip('"')
                )
            except (ValueError, IndexError, csv.Error) as error:
                yield f"line {number} is not an entry ({str(error)[:100]}): {line[:100]!r}"
            else:
                yield entry


# -- Parquet -----------------------------------------------------------------------------------------------------


def _parquet_rows(path: Path, name: str) -> Rows:
    program = Path(__file__).with_name("parquet_entries.py")
    command = [sys.executable, "-P", str(program), str(path), str(LONGEST_ENTRY), str(_MEMORY_MIB)]
    # One arena and one thread: address space is limited, not memory in use.
    environment = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            lines = iter(partial(process.stdout.readline, _LONGEST_BATCH), b"")
            for number, line in enumerate(lines):
                if line == b"[]\n":
                    return
                batch = json.loads(line)
                if number == 0 and batch and isinstance(batch[0], str):
                    _require([str(column)[:40] for column in batch], name)
                yield from map(_parquet_entry, *batch)
            said = process.stderr.read(1000).decode(errors="replace").strip()
            raise ValueError(said or f"reading it ended with status {process.wait()}")
        finally:
            process.kill()


def _parquet_entry(key: Any, size: Any, modified: Any, etag: Any, is_current: Any) -> Entry | str | None:
    if not is_current:
        return None
    if not (isinstance(key, str) and isinstance(etag, str)):
        return f"a row has no key or no ETag, or one of more than {LONGEST_ENTRY:,} bytes: {str(key)[:100]!r}"
    try:
        return Entry(key, int(size), _date(modified) if modified else None, etag.strip('"'))
    except (ValueError, TypeError) as error:
        return f"the row of key {key[:100]!r} is not an entry: {str(error)[:100]}"


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


def _damaged(where: str, said: str) -> PermanentError:
    return PermanentError(
        Reason.INVENTORY_DAMAGED,
        f"{where} does not have its manifest's format ({said.splitlines()[0][:200]}): use another inventory",
    )
