"""SHA-256 of files, cached for large files by size and modification time, so that a night without new videos is short.

`checkpoint` hashes the weights of a model directory with it. Each run needs the hash, and 16 GB take ten seconds.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from nightreel.models.checkpoints.stored_json import read_object, write_object

_WORTH_REMEMBERING_BYTES = 32 << 20
_SETTLED_NS = 2_000_000_000
"""A file that changed more recently than this could change again with the same timestamp."""


class FileDigests:
    """Digests of files, cached in a JSON file.

    Args:
        path: of the JSON file; None disables the cache. If the file is lost, large files are hashed again.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, list[int | str]] = read_object(path)

    def sha256(self, file: Path) -> str:
        """SHA-256 (hex) over the bytes of a file."""
        status = file.stat()
        stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        key = str(file.resolve())
        known = self._known.get(key)
        if known is not None and known[:-1] == stamp:
            return str(known[-1])
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        settled = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS
        if self._path is not None and status.st_size >= _WORTH_REMEMBERING_BYTES and settled:
            self._known[key] = [*stamp, digest]
            write_object(self._path, self._known)
        return digest
