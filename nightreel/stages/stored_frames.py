"""Sampled frames of analysed segments, for later work: from their thumbnail, or decoded again in the sandbox."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from nightreel.cache.features import FeatureCache
from nightreel.database.vectors import SegmentWithoutVector
from nightreel.errors import PermanentError, TransientError
from nightreel.media.contact_sheet import cut_contact_sheet
from nightreel.media.sandbox import DecoderPool
from nightreel.reasons import Reason
from nightreel.settings import Settings
from nightreel.storage import open_storage

_SHORT_SIDE_PX = 384  # more than dual encoders take

logger = logging.getLogger(__name__)


class StoredFrames:
    """The frames of segments. It keeps the last video on disk, because its segments come one after the other."""

    def __init__(self, settings: Settings, cache: FeatureCache, directory: Path) -> None:
        self._settings, self._cache, self._path = settings, cache, directory / "video"
        self._stack = ExitStack()
        self._decoders: DecoderPool | None = None
        self._on_disk: int | None = None

    @classmethod
    @contextmanager
    def opened(cls, settings: Settings, cache: FeatureCache) -> Iterator[StoredFrames]:
        """Open for a block, at whose end decoder processes stop and files are deleted."""
        with tempfile.TemporaryDirectory(prefix="nightreel-") as directory:
            frames = cls(settings, cache, Path(directory))
            try:
                yield frames
            finally:
                frames._stack.close()

    def of(self, segment: SegmentWithoutVector) -> np.ndarray | None:
        """The frames of a segment: uint8 RGB (N, H, W, 3); None, and a line in the log, if there are none any more.

        Raises:
            TransientError, PermanentError: the cache, the store or the decoder cannot be used at all.
        """
        try:
            if segment.thumbnail_uri is not None:
                try:
                    data = self._cache.get_thumbnail(segment.thumbnail_uri)
                    return cut_contact_sheet(data, frames=len(segment.frame_times_s))
                except PermanentError as error:
                    if error.reason not in (Reason.OBJECT_GONE, Reason.DAMAGED_FEATURE, Reason.OUTSIDE_PREFIX):
                        raise
            return self._decoded(segment)
        except (PermanentError, TransientError) as error:
            if error.reason.scope.value not in ("segment", "video"):
                raise
            logger.info("segment %d of %s has no frames: %s", segment.index, segment.uri, error)
            return None

    def _decoded(self, segment: SegmentWithoutVector) -> np.ndarray:
        if self._decoders is None:
            self._decoders = self._stack.enter_context(DecoderPool.from_settings(self._settings))
        if self._on_disk != segment.video_id:
            self._on_disk = None
            self._decoders.close_file(self._path)
            storage = open_storage(segment.uri.rpartition("/")[0], self._settings)
            fetched = storage.fetch(
                segment.uri, etag=segment.etag, destination=self._path, max_bytes=self._settings.max_bytes
            )
            if fetched.content_sha256 != segment.content_sha256:
                raise PermanentError(Reason.OBJECT_GONE, f"{segment.uri} has other bytes than those that were analysed")
            self._on_disk = segment.video_id
        batch = self._decoders.decode_moments(
            self._path,
            probe=self._decoders.probe(self._path),
            moments_s=segment.frame_times_s,
            short_side=_SHORT_SIDE_PX,
        )
        return batch.frames_thwc
