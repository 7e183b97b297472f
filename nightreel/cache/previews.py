"""Previews of videos on the disk of this host: small films for people whose browsers do not play the originals.

The console makes and reads them; an erasure deletes them. A directory for each content, a file for each preview:

    .nightreel/previews/<SHA-256 of the content>/<key>.webm

The least recently used ones go when they take more than a limit. What is gone is made again when somebody wants it.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Self

from nightreel.private import private_directory, private_opener
from nightreel.settings import Settings
from nightreel.storage.disk import PREVIEWS, write_error

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SUFFIX = ".webm"


class PreviewStore:
    """Previews below one directory. Several processes may share it.

    Args:
        directory: made when the first preview is stored.
        limit_bytes: of all previews. The newest one stays even if it is larger.
    """

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self._directory = directory
        self._limit_bytes = limit_bytes

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(settings.work_dir / "previews", settings.console_previews_mib << 20)

    def has(self, content_sha256: str, key: str) -> bool:
        return self._path(content_sha256, key).is_file()

    def read(self, content_sha256: str, key: str) -> bytes | None:
        """The bytes of a preview, which counts as used now; None: there is none."""
        path = self._path(content_sha256, key)
        try:
            data = path.read_bytes()
            os.utime(path)
        except FileNotFoundError:
            return None
        return data

    def put(self, content_sha256: str, key: str, data: bytes) -> None:
        """Store a preview, and delete the least recently used ones beyond the limit.

        Raises:
            TransientError: `disk_full`. PermanentError: `access_denied`.
        """
        path = self._path(content_sha256, key)
        partial = path.with_name(uuid.uuid4().hex)
        try:
            private_directory(path.parent)
            try:
                with open(partial, "xb", opener=private_opener) as file:
                    file.write(data)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(error, path, PREVIEWS) from error
        self._evict(but=path)

    def contents(self) -> list[str]:
        """The contents of which there are previews."""
        return sorted(path.name for path in self._directory.glob("*") if _SHA256.fullmatch(path.name))

    def erase(self, contents: Collection[str]) -> int:
        """Delete the previews of these contents. Returns their number."""
        count = 0
        for content in contents:
            directory = self._of(content)
            for path in directory.glob("*"):
                path.unlink(missing_ok=True)
                count += 1
            with suppress(FileNotFoundError):
                directory.rmdir()
        return count

    def _evict(self, *, but: Path) -> None:
        """Delete until the rest is within the limit, also what a killed process left half written."""
        held = []
        for path in self._directory.glob("*/*"):
            with suppress(FileNotFoundError):  # another process has deleted it
                status = path.stat()
                held.append((status.st_mtime_ns, status.st_size, path))
        size_bytes = sum(size for _, size, _ in held)
        for _, size, path in sorted(held):
            if size_bytes <= self._limit_bytes:
                return
            if path == but:
                continue
            path.unlink(missing_ok=True)
            size_bytes -= size
            with suppress(OSError):  # it has others
                path.parent.rmdir()

    def _path(self, content_sha256: str, key: str) -> Path:
        assert _SHA256.fullmatch(key), f"{key = }"
        return self._of(content_sha256) / f"{key}{_SUFFIX}"

    def _of(self, content_sha256: str) -> Path:
        assert _SHA256.fullmatch(content_sha256), f"{content_sha256 = }"
        return self._directory / content_sha256
