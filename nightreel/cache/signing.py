"""The MAC in a file of features: it proves that the file was written with a key of this cache, under this feature key.

    PAR1 | pages of all columns | MAC block | footer | length of the footer | PAR1
                                  `-- magic (16 bytes), HMAC-SHA-256 (32 bytes)

A Parquet footer names the place of each page, and readers find the footer from the end of the file. So the bytes
between them are free: every Parquet reader still reads the file, and every copy of it has its MAC. The MAC covers the
feature key and all bytes of the file except the block.

`features` signs and verifies. This module knows nothing of Parquet but the end of a file, and nothing of storage.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from nightreel.cache.layout import footer_start

MIN_KEY_BYTES = 32
_MAGIC = b"nightreel-mac-1\0"
_MAC_BYTES = 32
_BLOCK_BYTES = len(_MAGIC) + _MAC_BYTES
_PURPOSE = b"nightreel: file of features 1"  # the same secret must never sign two kinds of things alike


class CacheKeys:
    """The secret keys of a cache. They are never shown.

    Args:
        newest_first: the first one signs, all of them verify; at least one, each of `MIN_KEY_BYTES` bytes or more.
    """

    def __init__(self, newest_first: Sequence[bytes]) -> None:
        assert newest_first, "a cache has a key"
        assert all(len(key) >= MIN_KEY_BYTES for key in newest_first), f"expected keys of {MIN_KEY_BYTES} bytes or more"
        self._keys = tuple(dict.fromkeys(newest_first))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._keys)} keys)"

    def sign(self, parquet: bytes, feature_key: str) -> bytes:
        """The file with a MAC block before its footer.

        Args:
            parquet: a file without a MAC block.
        """
        place = footer_start(parquet)
        mac = _mac(self._keys[0], feature_key, hashlib.sha256(parquet).digest())
        return b"".join((parquet[:place], _MAGIC, mac, parquet[place:]))

    def verify(self, data: bytes, feature_key: str) -> None:
        """Accept a file that one of the keys has signed under this feature key.

        Raises:
            ValueError: it has no MAC, or another one.
        """
        end = footer_start(data)
        start = end - _BLOCK_BYTES
        if start < 0 or data[start : start + len(_MAGIC)] != _MAGIC:
            raise ValueError("it has no MAC: an older version wrote it, or another program")
        view = memoryview(data)
        content = hashlib.sha256(view[:start])
        content.update(view[end:])
        found = data[end - _MAC_BYTES : end]
        macs = [_mac(key, feature_key, content.digest()) for key in self._keys]
        if not any(hmac.compare_digest(found, mac) for mac in macs):
            raise ValueError("its MAC is of another key or of other content")


def _mac(key: bytes, feature_key: str, content_sha256: bytes) -> bytes:
    message = b"\0".join((_PURPOSE, feature_key.encode(), content_sha256))
    return hmac.digest(key, message, "sha256")
