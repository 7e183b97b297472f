"""The feature cache: Features as files in object storage, named by content, verified when read.

    file  one for each segment, `<first two of key>/<key>.parquet`; beside it `<key>.jpg`, a thumbnail of its frames

Used by stages. It depends on storage, not on torch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime

from nightreel.cache.parquet import FORMAT_VERSION, from_parquet, to_parquet
from nightreel.domain import FeatureRef, Features, SamplingPlan, Segment, content_hash
from nightreel.errors import PermanentError
from nightreel.models.base import ModelSpec
from nightreel.reasons import Reason
from nightreel.storage import PublishedObject, Storage

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
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

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

    def put(self, features: Features) -> FeatureRef:
        """Publish features. If the key already has good ones, keep those.

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
        """Read and verify features.

        Raises:
            PermanentError: `object_gone` when the file does not exist; `damaged_feature` when its content differs from
                what was written. Then the file is deleted, so the caller can compute it again.
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
                Reason.DAMAGED_FEATURE, f"{ref.uri} is damaged ({error}): deleted; encode the segment again"
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

    def read(self, uri: str) -> bytes:
        """Read a file's bytes without verification.

        Raises:
            TransientError, PermanentError: as `Storage.read`.
        """
        return self._storage.read(uri)

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

    def _adopt_or_replace(self, key: str, data: bytes, published: PublishedObject) -> tuple[bytes, PublishedObject]:
        """Another worker was first, or an older file has lost its row: use the existing bytes if they are good."""
        existing = self._storage.read(published.uri)
        try:
            from_parquet(existing, key=key)
        except ValueError:
            self._storage.delete(published.uri)
            return data, self._storage.publish(self.name_of(key), data)
        return existing, published
