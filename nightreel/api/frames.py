"""Sampled frames of stored videos, decoded again in the sandbox, one at a time.

A person looks at several frames of one video, so the last video stays on disk with its probe until another one is
wanted. Its bytes are those that were analysed, or there is no frame.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack

import numpy as np
from PIL import Image

from nightreel.api.fetched import AnalysedVideo, FetchedVideo, fetched_video
from nightreel.api.problems import Problem, busy
from nightreel.media.contact_sheet import encode_jpeg
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings
from nightreel.storage.spool import Spool

SHORT_SIDE_PX = 1080
_QUALITY = 88
_WAIT_S = 30.0
_SAME_S = 0.001


class FrameReader:
    """Thread-safe: one frame at a time, others wait."""

    def __init__(self, settings: Settings, spool: Spool, decoders: DecoderPool) -> None:
        self._settings = settings
        self._spool = spool
        self._decoders = decoders
        self._lock = threading.Lock()
        self._on_disk: FetchedVideo | None = None
        self._file = ExitStack()

    def jpeg(self, video: AnalysedVideo, pts_s: float) -> bytes:
        """The frame at a recorded time, upright, its shorter side at most `SHORT_SIDE_PX`, as a JPEG.

        Raises:
            Problem: 410 if the object is gone or has changed; 429 if many wait.
            NightreelError: as `fetched_video` and `DecoderPool.decode_moments`.
        """
        if not self._lock.acquire(timeout=_WAIT_S):
            raise busy("other frames are being decoded: ask again")
        try:
            found = self._opened(video)
            batch = self._decoders.decode_moments(
                found.path, probe=found.probe, moments_s=[pts_s], short_side=SHORT_SIDE_PX
            )
        finally:
            self._lock.release()
        if abs(float(batch.pts_s[0]) - pts_s) > _SAME_S:
            raise Problem(410, f"{video.uri} has no frame at {pts_s:.3f} s any more: it was decoded by another version")
        return encode_jpeg(Image.fromarray(np.ascontiguousarray(batch.frames_thwc[0])), quality=_QUALITY)

    def close(self) -> None:
        """Delete the file."""
        with self._lock:
            self._file.close()
            self._on_disk = None

    def _opened(self, video: AnalysedVideo) -> FetchedVideo:
        if self._on_disk is None or self._on_disk.video != video:
            self._on_disk = None
            self._file.close()
            fetched = fetched_video(video, settings=self._settings, spool=self._spool, decoders=self._decoders)
            self._on_disk = self._file.enter_context(fetched)
        return self._on_disk
