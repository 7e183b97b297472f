"""The object of a stored video on the disk of this host, to decode it again. Its bytes are those that were analysed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nightreel.api.problems import Problem
from nightreel.errors import NightreelError
from nightreel.media.probe import Probe
from nightreel.media.sandbox import DecoderPool
from nightreel.reasons import Reason
from nightreel.settings import Settings
from nightreel.storage import open_storage
from nightreel.storage.spool import Spool

GONE = frozenset(
    {Reason.OBJECT_GONE, Reason.OBJECT_CHANGED, Reason.NO_SUCH_SOURCE, Reason.NO_SUCH_BUCKET, Reason.ARCHIVED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysedVideo:
    """The version of an object that was analysed."""

    uri: str
    etag: str
    content_sha256: str | None


@dataclass(frozen=True, slots=True)
class FetchedVideo:
    """A video on the disk."""

    video: AnalysedVideo
    path: Path
    probe: Probe


def gone(uri: str, error: NightreelError) -> Problem | None:
    """The answer if an error of storage says that the analysed version of an object is gone; else None."""
    if error.reason not in GONE:
        return None
    return Problem(410, f"{uri} is gone, or has changed since it was analysed", reason=error.reason)


@contextmanager
def fetched_video(
    video: AnalysedVideo, *, settings: Settings, spool: Spool, decoders: DecoderPool
) -> Iterator[FetchedVideo]:
    """A video in the spool until the end of the block. It never waits for room: callers hold few at a time.

    Raises:
        Problem: 410 if the object is gone or has changed.
        NightreelError: as `Storage.fetch` and `DecoderPool.probe`.
    """
    with spool.admit(0) as directory:
        path = directory / "video"
        storage = open_storage(video.uri.rpartition("/")[0], settings)
        try:
            fetched = storage.fetch(video.uri, etag=video.etag, destination=path, max_bytes=settings.max_bytes)
        except NightreelError as error:
            raise gone(video.uri, error) or error from error
        if video.content_sha256 not in (None, fetched.content_sha256):
            raise Problem(
                410, f"{video.uri} has other bytes than those that were analysed", reason=Reason.OBJECT_CHANGED
            )
        try:
            yield FetchedVideo(video, path, decoders.probe(path))
        finally:
            decoders.close_file(path)
