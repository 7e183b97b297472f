"""Sampled frames of stored videos, decoded again in the sandbox, one at a time.

A person looks at several frames of one video, so the last video stays on disk with its probe until another one is
wanted. Its bytes are those that were analysed, or there is no frame.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nightreel.api.problems import Problem, busy
from nightreel.errors import NightreelError
from nightreel.media.contact_sheet import encode_jpeg
from nightreel.media.probe import Probe
from nightreel.media.sandbox import DecoderPool
from nightreel.reasons import Reason
from nightreel.settings import Settings
from nightreel.storage import open_storage
from nightreel.storage.spool import Spool

SHORT_SIDE_PX = 1080
_QUALITY = 88
_WAIT_S = 30.0
_SAME_S = 0.001
_GONE = frozenset(
    {Reason.OBJECT_GONE, Reason.OBJECT_CHANGED, Reason.NO_SUCH_SOURCE, Reason.NO_SUCH_BUCKET, Reason.ARCHIVED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysedVideo:
    """The version of an object that was analysed."""

    uri: str
    etag: str
    content_sha256: str | None


@dataclass(frozen=True, slots=True)
class _OnDisk:
    video: AnalysedVideo
    path: Path
    probe: Probe


def gone(uri: str, error: NightreelError) -> Problem | None:
    """The answer if an error of storage says that the analysed version of an object is gone; else None."""
    if error.reason not in _GONE:
        return None
    return Problem(410, f"{uri} is gone, or has changed since it was analysed", reason=error.reason)


class FrameReader:
    """Thread-safe: one frame at a time, others wait."""

    def __init__(self, settings: Settings, spool: Spool) -> None:
        self._settings = settings
        self._spool = spool
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._decoders: DecoderPool | None = None
        self._on_disk: _OnDisk | None = None
        self._file = ExitStack()

    def jpeg(self, video: AnalysedVideo, pts_s: float) -> bytes:
        """The frame at a recorded time, upright, its shorter side at most `SHORT_SIDE_PX`, as a JPEG.

        Raises:
            Problem: 410 if the object is gone or has changed; 429 if many wait.
            NightreelError: as `Storage.fetch`, `DecoderPool.probe` and `DecoderPool.decode_moments`.
        """
        if not self._lock.acquire(timeout=_WAIT_S):
            raise busy("other frames are being decoded: ask again")
        try:
            found = self._opened(video)
            batch = self._pool().decode_moments(
                found.path, probe=found.probe, moments_s=[pts_s], short_side=SHORT_SIDE_PX
            )
        finally:
            self._lock.release()
        if abs(float(batch.pts_s[0]) - pts_s) > _SAME_S:
            raise Problem(410, f"{video.uri} has no frame at {pts_s:.3f} s any more: it was decoded by another version")
        return encode_jpeg(Image.fromarray(np.ascontiguousarray(batch.frames_thwc[0])), quality=_QUALITY)

    def close(self) -> None:
        """Stop the decoder processes and delete the file."""
        with self._lock:
            self._file.close()
            self._stack.close()
            self._decoders = self._on_disk = None

    def _pool(self) -> DecoderPool:
        if self._decoders is None:
            self._decoders = self._stack.enter_context(DecoderPool.from_settings(self._settings))
        return self._decoders

    def _opened(self, video: AnalysedVideo) -> _OnDisk:
        if self._on_disk is not None and self._on_disk.video == video:
            return self._on_disk
        self._on_disk = None
        self._file.close()
        path = self._file.enter_context(self._spool.admit(0)) / "video"  # one at a time: it never waits for room
        self._fetch(video, path)
        self._file.callback(self._pool().close_file, path)
        self._on_disk = _OnDisk(video, path, self._pool().probe(path))
        return self._on_disk

    def _fetch(self, video: AnalysedVideo, path: Path) -> None:
        storage = open_storage(video.uri.rpartition("/")[0], self._settings)
        try:
            fetched = storage.fetch(video.uri, etag=video.etag, destination=path, max_bytes=self._settings.max_bytes)
        except NightreelError as error:
            raise gone(video.uri, error) or error from error
        if video.content_sha256 not in (None, fetched.content_sha256):
            raise Problem(410, f"{video.uri} has other bytes than those that were analysed")
