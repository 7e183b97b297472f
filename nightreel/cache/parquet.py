"""The file format of features: one Parquet file for each segment, verified when it is read.

    row       one for each frame: a slice of a tensor along its first axis, as bytes, so bfloat16 is kept bit for bit
    metadata  key, presentation times, decoder, model: they make a file readable without the database

Parquet returns flipped bits silently unless pages have checksums and the reader verifies them. Its footer has no
checksum. So pages are verified, the metadata have their own SHA-256, and a FeatureRef has the SHA-256 of the file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nightreel.domain import Features, StoredTensor

FORMAT_VERSION = 1
"""Part of every feature key. Increase it when files of an older version must no longer be read."""

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
    """The inverse of `to_parquet`. Verifies pages, key, and the size of every tensor.

    Raises:
        ValueError: the bytes are not a feature file, or not the file of `key`.
    """
    try:
        return _read(data, key)
    except (pa.ArrowException, LookupError, TypeError, OSError, MemoryError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _read(data: bytes, key: str) -> Features:
    table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
    metadata = table.schema.metadata or {}
    if hashlib.sha256(metadata[_METADATA]).hexdigest().encode() != metadata[_METADATA_SHA256]:
        raise ValueError("its metadata do not match their SHA-256")
    stored: dict[str, Any] = json.loads(metadata[_METADATA])
    if (stored["format"], stored["key"]) != (FORMAT_VERSION, key):
        raise ValueError(
            f"holds {stored['key'][:12]} in format {stored['format']}, expected {key[:12]} in format {FORMAT_VERSION}"
        )
    pieces: dict[str, list[bytes]] = {}
    for name, piece in zip(table["tensor"].to_pylist(), table["data"].to_pylist(), strict=True):
        pieces.setdefault(name, []).append(piece)
    tensors = []
    for name, dtype, shape in stored["tensors"]:
        tensor = StoredTensor(name=name, dtype=dtype, shape=tuple(shape), data=b"".join(pieces.pop(name)))
        if math.prod(tensor.shape) == 0 or len(tensor.data) % math.prod(tensor.shape):
            raise ValueError(f"tensor {name} has {len(tensor.data)} bytes, which do not fit shape {shape}")
        tensors.append(tensor)
    if pieces:
        raise ValueError(f"tensors {sorted(pieces)} are not in its metadata")
    return Features(key=key, tensors=tuple(tensors), pts_s=tuple(stored["pts_s"]), metadata=stored["metadata"])


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
