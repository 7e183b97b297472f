"""The feature cache: Features as Parquet files in object storage, named by content, unharmed or not returned at all.

    file      one a segment, `<first two of key>/<key>.parquet`
    row       one a frame: a slice of a tensor along its first axis, as bytes, so that bfloat16 stays bit for bit
    metadata  key, presentation times, decoder, model: what makes a file readable without the database

Parquet returns flipped bits silently unless pages carry checksums and the reader asks for them, and its footer has
none: so pages are checked, the metadata carry a SHA-256 of their own, *and* one over the whole file travels with the
FeatureRef.

Stages call it. It knows storage, and nothing of torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nightreel.domain import FeatureRef, Features, SamplingPlan, Segment, StoredTensor, content_hash
from nightreel.errors import PermanentError
from nightreel.models.base import ModelSpec
from nightreel.storage import PublishedObject, Storage

FORMAT_VERSION = 1
"""Part of every key: raised when a file of an older version must not be read any more."""

_METADATA, _METADATA_SHA256 = b"nightreel", b"nightreel_sha256"
_NAME = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})\.(parquet|jpg)")
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


def feature_key(
    *,
    content_sha256: str,
    segment: Segment,
    plan: SamplingPlan,
    decoder: str,
    decoder_version: str,
    spec: ModelSpec,
) -> str:
    """Where the features of a segment are found again: SHA-256 (hex) over all that they depend on.

    Names, paths and the length of windows do not count: a segment with the same bounds is the same segment.
    """
    sampling = asdict(plan)
    del sampling["window_s"]
    return content_hash(
        {
            "format": FORMAT_VERSION,
            "content_sha256": content_sha256,
            "segment": [float(segment.start_s), float(segment.end_s)],
            "sampling": sampling,
            "decoder": [decoder, decoder_version],
            "model": spec.identity,
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedFile:
    """A file of features or a thumbnail, as the storage lists it."""

    key: str
    uri: str
    size_bytes: int
    modified_at: datetime
    is_thumbnail: bool


class FeatureCache:
    """Features under their keys in a storage.

    Args:
        storage: where the files lie.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @property
    def url(self) -> str:
        """The prefix of every file here, without a slash at its end."""
        return self._storage.url

    def covers(self, ref: FeatureRef) -> bool:
        """Whether features lie below this cache's prefix: the operator may have moved it."""
        return ref.uri.startswith(f"{self.url}/")

    @staticmethod
    def name_of(key: str) -> str:
        """The name of a key's file below the cache's prefix."""
        return f"{key[:2]}/{key}.parquet"

    def put(self, features: Features) -> FeatureRef:
        """Publish features, unless good ones lie under their key already: those are kept.

        Raises:
            TransientError, PermanentError: as `Storage.publish`; nothing half-written remains.
        """
        data = to_parquet(features)
        published = self._storage.publish(self.name_of(features.key), data)
        if not published.created:
            data, published = self._adopt_or_replace(features.key, data, published)
        return FeatureRef(
            key=features.key, uri=published.uri, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
        )

    def put_thumbnail(self, key: str, jpeg: bytes) -> str:
        """Publish a small picture of a segment's frames beside its features; returns its uri.

        Raises:
            TransientError, PermanentError: as `Storage.publish`.
        """
        return self._storage.publish(f"{key[:2]}/{key}.jpg", jpeg).uri

    def get(self, ref: FeatureRef) -> Features:
        """Read features back, verified.

        Raises:
            PermanentError: `object_gone` when the file is not there; `damaged_feature` when it is not what was
                written: it has been deleted, so that the caller can compute it again.
        """
        data = self._storage.read(ref.uri)
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            if sha256 != ref.sha256:
                raise ValueError(f"SHA-256 is {sha256[:12]}, expected {ref.sha256[:12]}, {len(data)} bytes")
            return from_parquet(data, key=ref.key)
        except ValueError as error:
            self._storage.delete(ref.uri)
            raise PermanentError(
                "damaged_feature", f"{ref.uri} is damaged ({error}): deleted; encode the segment again"
            ) from error

    def files(self, *, on_foreign: Callable[[str], None] = lambda _: None) -> Iterator[CachedFile]:
        """All files of the cache in the order of their keys, by pages; none where the place does not exist yet.

        Args:
            on_foreign: called with the uri of each object that no cache has put there.

        Raises:
            TransientError, PermanentError: as `Storage.list_pages`.
        """
        start = len(self.url) + 1
        try:
            for page in self._storage.list_pages():
                for item in page:
                    match = _NAME.fullmatch(item.uri[start:])
                    if match is None:
                        on_foreign(item.uri)
                        continue
                    yield CachedFile(
                        key=match[2],
                        uri=item.uri,
                        size_bytes=item.size_bytes,
                        modified_at=item.modified_at,
                        is_thumbnail=match[3] == "jpg",
                    )
        except PermanentError as error:
            if error.reason != "no_such_source":
                raise

    def read(self, uri: str) -> bytes:
        """A file's bytes as they are, unverified.

        Raises:
            TransientError, PermanentError: as `Storage.read`.
        """
        return self._storage.read(uri)

    def exists(self, uri: str) -> bool:
        """Whether there is such a file now.

        Raises:
            TransientError, PermanentError: as `Storage.exists`.
        """
        return self._storage.exists(uri)

    def delete(self, uri: str) -> bool:
        """Delete a file of features or a thumbnail; returns whether there was one.

        Raises:
            TransientError, PermanentError: as `Storage.delete`.
        """
        return self._storage.delete(uri)

    def _adopt_or_replace(self, key: str, data: bytes, published: PublishedObject) -> tuple[bytes, PublishedObject]:
        """Another worker was first, or an older file has lost its row: take its bytes if they are good."""
        existing = self._storage.read(published.uri)
        try:
            from_parquet(existing, key=key)
        except ValueError:
            self._storage.delete(published.uri)
            return data, self._storage.publish(self.name_of(key), data)
        return existing, published


def to_parquet(features: Features) -> bytes:
    """A Parquet file with page checksums, uncompressed: such data does not compress."""
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
    return sink.getvalue().to_pybytes()


def from_parquet(data: bytes, *, key: str) -> Features:
    """The inverse of `to_parquet`, checking pages, key, and the size of every tensor.

    Raises:
        ValueError: the bytes are not a feature file, or not that of `key`.
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
        raise ValueError(f"holds {stored['key'][:12]} in format {stored['format']}, expected {key[:12]}")
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
        raise ValueError(f"tensors {sorted(pieces)} are not announced in its metadata")
    return Features(key=key, tensors=tuple(tensors), pts_s=tuple(stored["pts_s"]), metadata=stored["metadata"])


def _rows(tensor: StoredTensor, pts_s: tuple[float, ...]) -> Iterator[tuple[Any, ...]]:
    """Slices along the first axis where that is the frames, else the whole tensor in one row."""
    frames = len(pts_s)
    if len(tensor.shape) < 2 or tensor.shape[0] != frames:
        yield tensor.name, None, None, list(tensor.shape), tensor.dtype, tensor.data
        return
    size = len(tensor.data) // frames
    for frame, pts in enumerate(pts_s):
        # Copies, for pyarrow 26 never lets go of a memoryview that it was given, nor of the bytes behind it.
        piece = tensor.data[frame * size : (frame + 1) * size]
        yield tensor.name, frame, pts, list(tensor.shape[1:]), tensor.dtype, piece
