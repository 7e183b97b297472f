"""What a Parquet file declares of itself, compared with what a file of features has, before pyarrow sees it.

A few KiB of Parquet can declare GiB: compressed pages, dictionaries, repeated rows. Files of features have none of
these. pyarrow believes footers and page headers: it allocates what they declare, and some broken ones end the process.
So this module reads them itself. They are structs of Thrift's compact protocol, of which only the generic part is here.

Sources: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift,
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from typing import Any

TAIL_BYTES = 8  # the length of the footer, and PAR1

_MOST_ROWS = 1 << 20  # pyarrow writes as many into one row group
_MOST_PAGES = 1 << 16
_MOST_VALUES = 100_000  # in one struct, those of its structs and lists included
_MOST_LEVELS = 10
_PLAIN, _RLE = 0, 3  # encodings
_ENCRYPTED = (8, 9)  # fields of an encrypted file's footer

Struct = dict[int, Any]


def footer_start(data: bytes) -> int:
    """Where the footer of a Parquet file starts.

    Raises:
        ValueError: the end of the file is not that of a Parquet file.
    """
    length = int.from_bytes(data[-TAIL_BYTES:-4], "little")
    start = len(data) - TAIL_BYTES - length
    if data[-4:] != b"PAR1" or start < 4:
        raise ValueError("it is not a Parquet file, or is cut off")
    return start


def check_layout(data: bytes, *, columns: int) -> None:
    """Refuse a file that has another layout than one row group of plain, uncompressed pages.

    Args:
        columns: number of columns.

    Raises:
        ValueError: what it has instead.
    """
    start = footer_start(data)
    try:
        footer = _Reader(data, start).struct()
        groups, rows = footer[4], footer[3]
        if len(groups) != 1 or not 0 < rows <= _MOST_ROWS or any(field in footer for field in _ENCRYPTED):
            raise ValueError(f"it has {len(groups)} row groups and {rows} rows, expected 1 row group")
        chunks = groups[0][1]
        if len(chunks) != columns:
            raise ValueError(f"it has {len(chunks)} columns, expected {columns}")
        pages = sum(_check_chunk(data, start, chunk, rows) for chunk in chunks)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"its footer or a page header is broken: {type(error).__name__} {error}") from error
    if pages > _MOST_PAGES:
        raise ValueError(f"it has {pages:,} pages")


def _check_chunk(data: bytes, pages_end: int, chunk: Struct, rows: int) -> int:
    """Check one column, whose pages are before `pages_end`; returns their number."""
    about = chunk[3]
    name = b".".join(about[3])[:80]
    if about[4] != 0 or 11 in about or 1 in chunk:
        raise ValueError(f"column {name!r} is compressed, has a dictionary or is in another file")
    if about[6] != about[7] or not {_PLAIN, _RLE}.issuperset(about[2]):
        raise ValueError(f"column {name!r} declares {about[6]} bytes in {about[7]}, encodings {about[2][:8]}")
    position, end = about[9], about[9] + about[7]
    if not 4 <= position <= end <= pages_end:
        raise ValueError(f"column {name!r} is outside the file")
    pages = values = 0
    while position < end:
        reader = _Reader(data, position)
        page = reader.struct()
        if page[1] != 0 or page[2] != page[3] or page[2] < 0 or page[5][2] != _PLAIN or page[5][1] < 0:
            raise ValueError(f"column {name!r} has a page that is not plain: {page[3]} bytes declare {page[2]}")
        position = reader.position + page[3]
        pages, values = pages + 1, values + page[5][1]
        if pages > _MOST_PAGES:
            raise ValueError(f"column {name!r} has more than {_MOST_PAGES:,} pages")
    if position != end or values != about[5] or values > _MOST_ROWS or (len(about[3]) == 1 and values != rows):
        raise ValueError(f"column {name!r} has {values:,} values for {rows:,} rows")
    return pages


class _Reader:
    """Reads a struct of Thrift's compact protocol as a dictionary by the numbers of its fields."""

    def __init__(self, data: bytes, position: int) -> None:
        self.position = position
        self._data = data
        self._left = _MOST_VALUES

    def struct(self, level: int = 0) -> Struct:
        if level > _MOST_LEVELS:
            raise ValueError(f"its footer is nested more than {_MOST_LEVELS} times")
        fields: Struct = {}
        number = 0
        while header := self._byte():
            number = number + (header >> 4) if header >> 4 else self._integer()
            fields[number] = self._value(header & 15, level)
        return fields

    def _value(self, kind: int, level: int, *, in_list: bool = False) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"its footer has more than {_MOST_VALUES:,} values")
        match kind:
            case 1 | 2:
                return self._byte() == 1 if in_list else kind == 1
            case 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._integer()
            case 7:
                return self._bytes(8)
            case 8:
                return self._bytes(self._varint())
            case 9 | 10:
                header = self._byte()
                size = header >> 4 if header >> 4 < 15 else self._varint()
                if size > self._left:
                    raise ValueError(f"its footer has a list of {size:,} values")
                return [self._value(header & 15, level + 1, in_list=True) for _ in range(size)]
            case 12:
                return self.struct(level + 1)
        raise ValueError(f"its footer has a value of the unknown kind {kind}")

    def _byte(self) -> int:
        self.position += 1
        return self._data[self.position - 1]

    def _bytes(self, size: int) -> bytes:
        piece = self._data[self.position : self.position + size]
        if len(piece) < size:
            raise ValueError("its footer is cut off")
        self.position += size
        return piece

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("its footer has a number of more than 64 bits")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
