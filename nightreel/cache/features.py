"""The feature cache: Features as files in object storage, named by content, verified when read.

    file  one for each segment, `<first two of key>/<key>.parquet`; beside it `<key>.jpg`, a thumbnail of its frames

Whoever can write to the storage can put any file under any name, so no file is believed:

    it has a row in the index      its bytes have the SHA-256 of the row
    it has none                    it has a MAC of this cache's keys for its own feature key (`signing`)

Whatever else is there counts as absent and is replaced. The checked bytes are the bytes that are parsed, and nothing is
parsed before the check.

Used by stages. It depends on storage, not on torch.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime

from nightreel.cache.parquet import FORMAT_VERSION, from_parquet, to_parquet
from nightreel.cache.signing import CacheKeys
from nightreel.domain import FeatureRef, Features, SamplingPlan, Segment, content_hash
from nightreel.errors import NightreelError, PermanentError
from nightreel.host_errors import host_error
from nightreel.models.base import ModelSpec
from nightreel.reasons import Reason
from nightreel.storage import Storage

_LARGEST_FILE = 1 << 30  # of a file without a row that a check reads
LARGEST_THUMBNAIL = 8 << 20
_SLACK_BYTES = 64 << 10  # metadata of another version may be longer
# Whoever can write to the storage can cause these for one file.
_OF_ONE_FILE = frozenset(
    {
        Reason.OBJECT_GONE,
        Reason.OBJECT_CHANGED,
        Reason.OBJECT_DENIED,
        Reason.ARCHIVED,
        Reason.INVALID_RANGE,
        Reason.LIMIT_BYTES,
        Reason.STORAGE_REFUSED,
    }
)

logger = logging.getLogger(__name__)

_NAME = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})\.(parquet|jpg)")


def feature_key(
    *,
    content_sha256: str,
    segment: Segment,
    plan: SamplingPlan,
    decoder: str,
    decoder_version: str,
    spec: ModelSpec,
) -> str:
    """The key of a segment's features: SHA-256 (hex) over everything that they depend on.

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
        storage: holds the files.
        keys: sign new files, and prove that a file without a row is from this cache.
        on_rejected: called after each file that `put` did not accept and replaced.
    """

    def __init__(self, storage: Storage, *, keys: CacheKeys, on_rejected: Callable[[], None] = lambda: None) -> None:
        self._storage = storage
        self._keys = keys
        self._on_rejected = on_rejected

    @property
    def url(self) -> str:
        """The prefix of every file here, without a slash at its end."""
        return self._storage.url

    def check_writable(self) -> None:
        """Write, read and delete a small object. Raises as `Storage.check_writable`."""
        self._storage.check_writable()

    def covers(self, ref: FeatureRef) -> bool:
        """Whether features are below this cache's prefix: the operator may have moved the cache."""
        return ref.uri.startswith(f"{self.url}/")

    @staticmethod
    def name_of(key: str) -> str:
        """The name of a key's file below the cache's prefix."""
        return f"{key[:2]}/{key}.parquet"

    def uris_of(self, key: str) -> tuple[str, str]:
        """Where the features of a key are, and their thumbnail."""
        uri = f"{self.url}/{self.name_of(key)}"
        return uri, f"{uri.removesuffix('.parquet')}.jpg"

    def put(self, features: Features) -> FeatureRef:
        """Publish features. If the key already has a file of this cache for them, keep it; replace any other file.

        Raises:
            TransientError, PermanentError: as `Storage.publish`; nothing half-written remains.
        """
        data = self._keys.sign(to_parquet(features), features.key)
        name = self.name_of(features.key)
        published = self._storage.publish(name, data)
        if not published.created:
            try:
                data = self._existing(published.uri, features, most_bytes=len(data) + _SLACK_BYTES)
            except ValueError as error:
                logger.warning("%s is not used and is replaced: %s", published.uri, error)
                published = self._storage.replace(name, data)
                self._on_rejected()
        return FeatureRef(
            key=features.key, uri=published.uri, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
        )

    def put_thumbnail(self, key: str, jpeg: bytes) -> str:
        """Publish a small picture of a segment's frames beside its features, or replace another one; returns its uri.

        Raises:
            TransientError, PermanentError: as `Storage.publish`.
        """
        name = f"{key[:2]}/{key}.jpg"
        published = self._storage.publish(name, jpeg)
        if not published.created:
            try:
                is_same = self._read(published.uri, most_bytes=len(jpeg)) == jpeg
            except ValueError:
                is_same = False
            if not is_same:
                published = self._storage.replace(name, jpeg)
        return published.uri

    def get_thumbnail(self, uri: str) -> bytes:
        """Read a small picture.

        Raises:
            PermanentError: `object_gone` when the file does not exist; `damaged_feature` when it cannot be read.
            TransientError: as `Storage.read`.
        """
        try:
            return self._read(uri, most_bytes=LARGEST_THUMBNAIL)
        except _MissingError as error:
            raise PermanentError(Reason.OBJECT_GONE, str(error)) from error
        except ValueError as error:
            raise PermanentError(Reason.DAMAGED_FEATURE, f"{uri} cannot be read: {error}") from error

    def get(self, ref: FeatureRef) -> Features:
        """Read and verify features.

        Raises:
            PermanentError: `object_gone` when the file does not exist; `damaged_feature` when its content differs from
                what was written, or cannot be read. Then the file is deleted, so the caller can compute it again.
        """
        sha256 = ""
        try:
            data = self._read(ref.uri, most_bytes=ref.size_bytes)
            sha256 = hashlib.sha256(data).hexdigest()
            if sha256 != ref.sha256:
                raise ValueError(f"SHA-256 is {sha256[:12]}, expected {ref.sha256[:12]}, {len(data)} bytes")
            return from_parquet(data, key=ref.key)
        except _MissingError as error:
            raise PermanentError(Reason.OBJECT_GONE, str(error)) from error
        except ValueError as error:
            if sha256 == ref.sha256 and (of_host := host_error(error, doing=f"{ref.uri} cannot be read")):
                raise of_host from error
            self._try_to_delete(ref.uri)
            raise PermanentError(
                Reason.DAMAGED_FEATURE, f"{ref.uri} is damaged ({error}): encode the segment again"
            ) from error

    def files(self, *, on_foreign: Callable[[str], None] = lambda _: None) -> Iterator[CachedFile]:
        """Yield all files of the cache in the order of their keys; none if the place does not exist yet.

        Args:
            on_foreign: called with the uri of each object that is not from a cache.

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
            if error.reason is not Reason.NO_SUCH_SOURCE:
                raise

    def differs(self, uri: str, *, size_bytes: int, sha256: str) -> bool:
        """Whether a file's content differs from what was written, or cannot be read; False if it is gone.

        Raises:
            TransientError, PermanentError: as `Storage.read`.
        """
        try:
            return hashlib.sha256(self._read(uri, most_bytes=size_bytes)).hexdigest() != sha256
        except _MissingError:
            return False
        except ValueError:
            return True

    def is_signed(self, file: CachedFile) -> bool:
        """Whether a file of features has a MAC of this cache. Reads it.

        Raises:
            TransientError, PermanentError: as `Storage.read`.
        """
        if file.size_bytes > _LARGEST_FILE:
            return False
        try:
            self._keys.verify(self._read(file.uri, most_bytes=file.size_bytes), file.key)
        except ValueError:
            return False
        return True

    def exists(self, uri: str) -> bool:
        """Whether the file exists now.

        Raises:
            TransientError, PermanentError: as `Storage.exists`.
        """
        return self._storage.exists(uri)

    def delete(self, uri: str) -> bool:
        """Delete a file of features or a thumbnail; returns whether it existed.

        Raises:
            TransientError, PermanentError: as `Storage.delete`.
        """
        return self._storage.delete(uri)

    def _existing(self, uri: str, features: Features, *, most_bytes: int) -> bytes:
        """The bytes of another worker's file, or of one that has lost its row.

        Raises:
            ValueError: it cannot be read, is not from this cache, or holds other tensors than these features have.
        """
        data = self._read(uri, most_bytes=most_bytes)
        self._keys.verify(data, features.key)
        found = from_parquet(data, key=features.key)
        if _shapes(found) != _shapes(features):
            raise ValueError("its tensors have other names, dtypes or shapes than the model's features")
        return data

    def _read(self, uri: str, *, most_bytes: int) -> bytes:
        """The bytes of a file.

        Raises:
            ValueError: the file is larger, gone (`_MissingError`), or cannot be read, while others can.
            TransientError, PermanentError: as `Storage.read`.
        """
        try:
            return self._storage.read(uri, max_bytes=most_bytes)
        except NightreelError as error:
            if error.reason not in _OF_ONE_FILE:
                raise
            if error.reason is Reason.OBJECT_DENIED:
                self._storage.check_writable()  # if the keys are at fault, no other file can be read either
            if error.reason is Reason.OBJECT_GONE:
                raise _MissingError(error.detail) from error
            if error.reason is Reason.LIMIT_BYTES:
                raise ValueError(f"it is larger than the expected {most_bytes:,} bytes") from error
            raise ValueError(str(error)) from error

    def _try_to_delete(self, uri: str) -> None:
        try:
            self._storage.delete(uri)
        except NightreelError as error:  # the next `put` replaces it
            logger.warning("%s is damaged and cannot be deleted: %s", uri, error)


class _MissingError(ValueError):
    """A file does not exist."""


def _shapes(features: Features) -> tuple[object, ...]:
    return features.pts_s, *((tensor.name, tensor.dtype, tensor.shape) for tensor in features.tensors)
