"""Tombstones: by what an erased object or content is recognised, without being known.

A tombstone is an HMAC-SHA-256. Who has the database and not the secret cannot tell what was erased, even with a list of
all keys and hashes that it may have been.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field

_LEAST_BYTES = 32


@dataclass(frozen=True, slots=True)
class TombstoneKey:
    """The secret of tombstones.

    >>> key = TombstoneKey(b"k" * 32)
    >>> key.of_content("ab") == key.of_content("ab"), key.of_content("ab") == key.of_object("ab")
    (True, False)
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        assert len(self.secret) >= _LEAST_BYTES, f"{len(self.secret) = }"

    @property
    def id(self) -> bytes:
        """What tells this secret from others: 8 bytes."""
        return self._mac("id")[:8]

    def of_object(self, uri: str) -> bytes:
        """That something with this key was erased."""
        return self._mac("object", uri)

    def of_version(self, uri: str, etag: str) -> bytes:
        """That this version of an object was erased: discovery leaves it out. Another version is another video."""
        return self._mac("version", uri, etag)

    def of_content(self, content_sha256: str) -> bytes:
        """That this content was erased under all keys: it is not analysed under any."""
        return self._mac("content", content_sha256)

    def of_copy(self, uri: str, content_sha256: str) -> bytes:
        """That this content was erased under this key: it is not analysed under it."""
        return self._mac("copy", uri, content_sha256)

    def _mac(self, *parts: str) -> bytes:
        message = json.dumps(parts).encode()  # so that no two lists of parts look the same
        return hmac.new(self.secret, message, hashlib.sha256).digest()
