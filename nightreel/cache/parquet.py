"""The file format of features: one Parquet file for each segment, verified when it is read.

    row       one for each frame: a slice of a tensor along its first axis, as bytes, so bfloat16 is kept bit for bit
    metadata  key, presentation times, decoder, model: they make a file readable without the database

Parquet returns flipped bits silently unless pages have checksums and the reader verifies them. Its footer has no
checksum. So pages are verified, the metadata have their own SHA-256, and a FeatureRef has the SHA-256 of the file.
`layout` has compared what the file declares with what `to_parquet` writes, before pyarrow reads it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from nightreel.cache.layout import check_layout
from nightreel.domain import Features, StoredTensor

FORMAT_VERSION = 1
"""Part of every feature key. Increase it when files of an older version must no longer be read."""

_MOST_ITEMS = 10_000  # of a list in the footer
_LARGEST_METADATA = 16 << 20
_ITEM_BYTES = (
    dict.fromkeys(("bool", "uint8", "int8", "float8_e4m3fn", "float8_e5m2"), 1)
    | dict.fromkeys(("int16", "uint16", "float16", "bfloat16"), 2)
    | dict.fromkeys(("int32", "uint32", "float32"), 4)
    | dict.fromkeys(("int64", "uint64", "float64"), 8)
)
_LONGEST_SIDE = 1 << 40
_MOST_AXES = 16

_METADATA, _METADATA_SHA256 = b"nightreel", b"nightreel_sha256"
_SCHEMA = pa.schema(
    [
        ("tensor", pa.string()),
        ("frame", pa.int32()),
        ("pts_s", pa.float64()),
        ("shape", pa.list_(pa.int64())),
        ("dtype", pa.string()),
        ("data", pa.large_binary()),
    ]
)


def to_parquet(features: Features) -> bytes:
    """Encode features as a Parquet file with page checksums, uncompressed: such data does not compress."""
    rows = [row for tensor in features.tensors for row in _rows(tensor, features.pts_s)]
    metadata = {
        "format": FORMAT_VERSION,
        "key": features.key,
        "pts_s": list(features.pts_s),
        "tensors": [[tensor.name, tensor.dtype, list(tensor.shape)] for tensor in features.tensors],
        "metadata": dict(features.metadata),
    }
    text = json.dumps(metadata, sort_keys=True, allow_nan=False).encode()
    schema = _SCHEMA.with_metadata({_METADATA: text, _METADATA_SHA256: hashlib.sha256(text).hexdigest()})
    columns = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), _SCHEMA, strict=True)]
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_arrays(columns, schema=schema),
        sink,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    content: bytes = sink.getvalue().to_pybytes()
    return content


def from_parquet(data: bytes, *, key: str) -> Features:
    """The inverse of `to_parquet`. Verifies the layout, the pages, the key, and the size of every tensor.

    Raises:
        ValueError: the bytes are not a feature file, or not the file of `key`.
    """
    try:
        return _read(data, key)
    except (pa.ArrowException, LookupError, TypeError, OverflowError, OSError, MemoryError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


class _Stored(BaseModel):
    """The metadata of a file: `tensors` are names, dtypes and shapes."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    format: int
    key: str
    pts_s: tuple[float, ...]
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]
    metadata: dict[str, Any]


def _read(data: bytes, key: str) -> Features:
    check_layout(data, columns=len(_SCHEMA))
    with pq.ParquetFile(
        pa.BufferReader(data),
        page_checksum_verification=True,
        thrift_string_size_limit=_LARGEST_METADATA,
        thrift_container_size_limit=_MOST_ITEMS,
    ) as file:
        if not file.schema_arrow.remove_metadata().equals(_SCHEMA):
            raise ValueError(f"its columns are {file.schema_arrow.names[:10]}, expected {_SCHEMA.names} of their types")
        stored = _metadata(file.schema_arrow.metadata or {}, key)
        sizes = {name: _size_bytes(name, dtype, shape) for name, dtype, shape in stored.tensors}
        if len(sizes) != len(stored.tensors) or sum(sizes.values()) > len(data):
            raise ValueError(f"its {len(stored.tensors)} tensors do not fit into {len(data)} bytes")
        table = file.read(["tensor", "data"], use_threads=False)
    pieces: dict[str, list[bytes]] = {}
    for name, piece in zip(table["tensor"].to_pylist(), table["data"].to_pylist(), strict=True):
        pieces.setdefault(name, []).append(piece)
    tensors = []
    for name, dtype, shape in stored.tensors:
        tensor = StoredTensor(name=name, dtype=dtype, shape=shape, data=b"".join(pieces.pop(name)))
        if len(tensor.data) != sizes[name]:
            raise ValueError(f"tensor {name} has {len(tensor.data)} bytes, which do not fit {dtype} {list(shape)}")
        tensors.append(tensor)
    if pieces:
        raise ValueError(f"tensors {sorted(pieces)} are not in its metadata")
    return Features(key=key, tensors=tuple(tensors), pts_s=stored.pts_s, metadata=stored.metadata)


def _metadata(metadata: dict[bytes, bytes], key: str) -> _Stored:
    text = metadata[_METADATA]
    if hashlib.sha256(text).hexdigest().encode() != metadata[_METADATA_SHA256]:
        raise ValueError("its metadata do not match their SHA-256")
    stored = _Stored.model_validate_json(text)
    if (stored.format, stored.key) != (FORMAT_VERSION, key):
        raise ValueError(
            f"holds {stored.key[:12]} in format {stored.format}, expected {key[:12]} in format {FORMAT_VERSION}"
        )
    return stored


def _size_bytes(name: str, dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor, at least 1."""
    item_bytes = _ITEM_BYTES.get(dtype)
    if item_bytes is None or not all(0 < side <= _LONGEST_SIDE for side in shape) or len(shape) > _MOST_AXES:
        raise ValueError(f"tensor {name[:80]} is {dtype[:20]} {list(shape)[:_MOST_AXES]}, which no model makes")
    return item_bytes * math.prod(shape)


def _rows(tensor: StoredTensor, pts_s: tuple[float, ...]) -> Iterator[tuple[Any, ...]]:
    """Slices along the first axis if it is the frames, else the whole tensor in one row."""
    frames = len(pts_s)
    if len(tensor.shape) < 2 or tensor.shape[0] != frames:
        yield tensor.name, None, None, list(tensor.shape), tensor.dtype, tensor.data
        return
    size = len(tensor.data) // frames
    for frame, pts in enumerate(pts_s):
        # Copies, because pyarrow 26 never releases a memoryview or the bytes behind it.
        piece = tensor.data[frame * size : (frame + 1) * size]
        yield tensor.name, frame, pts, list(tensor.shape[1:]), tensor.dtype, piece
