"""A program that reads the entries of a Parquet inventory. `inventory_rows` runs it, in a process of its own.

Whoever writes the inventory decides what pyarrow allocates: pages that unpack to GiB, dictionaries that repeat a value
of MiB, footers that end the process. So it happens where the memory has a limit, without secrets in the environment, in
a process that can open no other file and make few system calls (`kernel`).

    arguments   the file, the largest number of characters of a key or an ETag, the memory limit in MiB
    output      a line of JSON for each batch: keys, sizes, dates, ETags, and whether each is a current version

A value that is too long or that cannot be read is null. At the end comes the line `[]`; without it, the file is
damaged. If columns are missing, the output is one line with their names.
"""

import io
import json
import resource
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nightreel.kernel.landlock import restrict_to
from nightreel.kernel.seccomp import allow_only_reading
from nightreel.kernel.syscalls import forbid_new_privileges

_BATCH_ROWS = 1024
_BUFFER_BYTES = 1 << 20
_MOST_ITEMS = 1_000_000  # of a list in the footer
_NEEDED = ("key", "size", "last_modified_date", "e_tag")
_VERSIONS = (("is_latest", False), ("is_delete_marker", True))


def main(path: str, longest: int, memory_mib: int) -> int:
    # pyarrow imports modules when it first needs them, which a confined process cannot do.
    _texts(pa.array([""]), longest)
    _values(pa.array([0], pa.timestamp("ns")))
    with Path(path).open("rb", buffering=0) as file:
        _confine(file.fileno(), memory_mib)
        return _read(file, longest)


def _confine(fd: int, memory_mib: int) -> None:
    """Take away from this process, permanently, what reading the file `fd` does not need."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + (memory_mib << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    forbid_new_privileges()
    restrict_to(fd)
    allow_only_reading()


def _read(opened: io.RawIOBase, longest: int) -> int:
    # With a buffer for each column, a row group is read step by step, not all at the same time.
    with pq.ParquetFile(
        opened, buffer_size=_BUFFER_BYTES, pre_buffer=False, thrift_container_size_limit=_MOST_ITEMS
    ) as file:
        names = file.schema_arrow.names
        if missing := [name for name in _NEEDED if name not in names]:
            _write(missing)
            return 1
        flags = [(name, value) for name, value in _VERSIONS if name in names]
        columns = [*_NEEDED, *(name for name, _ in flags)]
        for batch in file.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False):
            key, size, modified, etag = (batch.column(name) for name in _NEEDED)
            current = [True] * len(batch)
            for name, other in flags:
                current = [
                    good and flag != other for good, flag in zip(current, _values(batch.column(name)), strict=True)
                ]
            dates = [_date(value) for value in _values(_in_utc(modified))]
            _write([_texts(key, longest), _values(size), dates, _texts(etag, longest), current])
    _write([])
    return 0


def _write(line: list[Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")


def _texts(column: pa.Array, longest: int) -> list[str | None]:
    fits = pc.less_equal(pc.binary_length(column), 4 * longest)
    return [text if isinstance(text, str) else None for text in _values(pc.if_else(fits, column, None))]


def _in_utc(column: pa.Array) -> pa.Array:
    """Dates without their zone, which Python would read from a file. Parquet stores them in UTC, whatever the zone."""
    zoned = pa.types.is_timestamp(column.type) and column.type.tz
    return column.view(pa.timestamp(column.type.unit)) if zoned else column


def _values(column: pa.Array) -> list[Any]:
    """The values of a column; None for one that Python does not have, such as a date of the year 20000."""
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError):
        values = [_value(item) for item in column]
    return [value if isinstance(value, int | str) or hasattr(value, "isoformat") else None for value in values]


def _value(item: Any) -> Any:
    try:
        return item.as_py()
    except (ValueError, OverflowError):
        return None


def _date(value: Any) -> str | None:
    return value.isoformat() if hasattr(value, "isoformat") else None


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    except (pa.ArrowException, OSError, ValueError, TypeError, MemoryError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}"[:500])
        sys.exit(1)
