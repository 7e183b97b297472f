"""One claimed video between its first chunk and its last: what it holds, how it is cut, where its file is.

What is already known is not found out again: bytes seen under another key bring their probe and their answers along,
and a video all of whose answers exist is not even fetched.
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nightreel.database.claims import take_content
from nightreel.database.results import known_video, probe_of_content, record_content, record_probe, reuse_answers
from nightreel.domain import Claim, Segment
from nightreel.errors import TransientError
from nightreel.media.probe import Probe
from nightreel.media.sampling import segments

if TYPE_CHECKING:
    from nightreel.stages.workbench import Workbench

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one segment: it fails its video, but the other segments' answers are kept."""

    segment: Segment
    reason: str
    detail: str
    transient: bool


@dataclass(slots=True)
class OpenVideo:
    """State of a video in work. Filled by `identify`; its file is fetched only when something needs it.

    Args:
        copied: answers taken over from the same bytes under another key.
    """

    claim: Claim
    content_sha256: str = ""
    probe: Probe | None = None
    segments: tuple[Segment, ...] = ()
    copied: int = 0
    problems: list[Problem] = field(default_factory=list)
    _path: Path | None = None
    _file: ExitStack = field(default_factory=ExitStack)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def file(self, bench: Workbench) -> Path:
        """The video on disk, fetched at the first call."""
        with self._lock:
            if self._path is None:
                self._path = self._fetch(bench)
            return self._path

    def _fetch(self, bench: Workbench) -> Path:
        video = self.claim.video
        with bench.timings.stage("fetch"):
            directory = self._file.enter_context(bench.spool.admit(video.size_bytes))
            fetched = bench.source.fetch(
                video.uri, etag=video.etag, destination=directory / "video", max_bytes=bench.settings.max_bytes
            )
        if self.content_sha256 not in ("", fetched.content_sha256):
            raise TransientError(
                "object_changed", f"{video.uri}: etag {video.etag} held other bytes before: list the source again"
            )
        self.content_sha256 = fetched.content_sha256
        return fetched.path

    def release(self) -> None:
        """Delete the file, keep what is known."""
        with self._lock:
            self._path = None
            self._file.close()


def identify(bench: Workbench, video: OpenVideo) -> bool:
    """Find out content, probe and segments, and copy the answers that the same bytes have under another key.

    Returns:
        False if the same bytes are in work under another key: their answers are worth waiting for.
    """
    row = video.claim.video
    with bench.database.begin() as connection:
        known = known_video(connection, row.id)
    video.content_sha256 = known.content_sha256 or ""
    if not video.content_sha256:
        video.file(bench)
    with bench.timings.stage("database"), bench.database.begin() as connection:
        record_content(connection, row.id, video.content_sha256)
        if not take_content(connection, video.claim.analysis_id, video.content_sha256):
            return False
        video.copied = reuse_answers(
            connection, video_id=row.id, content_sha256=video.content_sha256, recipe=bench.recipe, run_id=bench.run_id
        )
        probe = known.probe or probe_of_content(connection, video.content_sha256)
    if video.copied:
        logger.info("%s holds bytes already analysed: %d answers reused", row.uri, video.copied)
    if probe is None:
        path = video.file(bench)
        with bench.timings.stage("probe"):
            video.probe = bench.pool.probe(path)
    else:
        video.probe = Probe.from_json(probe)
    if known.probe is None:
        with bench.timings.stage("database"), bench.database.begin() as connection:
            record_probe(connection, row.id, video.probe.to_json(), video.probe.duration_s)
    video.segments = tuple(segments(video.probe.duration_s, bench.recipe.plan.window_s))
    return True
