"""The claimed videos of a run, from their first chunk to their last: content, segments, and files on disk."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nightreel.database.coverage import SegmentFailure
from nightreel.domain import Claim, Segment
from nightreel.errors import NightreelError, TransientError
from nightreel.media.probe import Probe
from nightreel.media.sampling import segments
from nightreel.media.sandbox import DecoderPool
from nightreel.reasons import Reason
from nightreel.settings import Settings
from nightreel.stages.recorder import RunRecorder
from nightreel.storage import Storage
from nightreel.storage.spool import Spool

_MOST_GIVEN_BACK = 3  # times in one run, of one video


@dataclass(slots=True)
class OpenVideo:
    """State of a claimed video. `identify` fills it; its file is fetched only when needed.

    Args:
        facts: the probe as JSON, which may come from an earlier run.
        path: the file on disk; `file` deletes it. probe: of that file, for decoding.
        idle: the file is not in use, and deleted if another one needs its space. `lock` guards these.
        copied: number of answers copied from the same bytes under another key.
        advanced: answers were written since the video was last looked through for what it lacks.
        whole_failure: why questions about the whole video have no answers. whole_rounds: how often it was sent to them.
    """

    claim: Claim
    content_sha256: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    probe: Probe | None = None
    segments: tuple[Segment, ...] = ()
    copied: int = 0
    advanced: bool = False
    failures: list[SegmentFailure] = field(default_factory=list)
    whole_failure: NightreelError | None = None
    whole_rounds: int = 0
    path: Path | None = None
    idle: bool = False
    file: ExitStack = field(default_factory=ExitStack)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take_over(self, content_sha256: str, facts: Mapping[str, Any], *, window_s: float) -> None:
        """Identify the video by facts that are known already, and cut it into segments.

        Raises:
            PermanentError: as `sampling.segments`.
        """
        self.content_sha256, self.facts = content_sha256, facts
        self.segments = tuple(segments(facts["duration_s"], window_s, expected_s=facts.get("expected_s")))

    def fail(self, segment: Segment, error: NightreelError) -> None:
        """Record why a segment failed, once even if its stage is retried."""
        failure = SegmentFailure(segment, error.reason, error.detail, isinstance(error, TransientError))
        if failure not in self.failures:
            self.failures.append(failure)

    def release(self) -> None:
        """Delete the file; keep the rest of the state."""
        with self.lock:
            self._delete_file()

    def release_if_idle(self) -> None:
        with self.lock:
            if self.idle:
                self._delete_file()

    def _delete_file(self) -> None:
        self.path, self.idle = None, False
        self.file.close()


class OpenVideos:
    """The open videos of a run, by the id of their analysis. Thread-safe."""

    def __init__(self) -> None:
        self._videos: dict[int, OpenVideo] = {}
        self._given_back: Counter[int] = Counter()

    def open(self, claim: Claim) -> OpenVideo:
        """The video of a claim, opened at the first call."""
        return self._videos.setdefault(claim.analysis_id, OpenVideo(claim))

    def find(self, analysis_id: int) -> OpenVideo | None:
        """An open video; None if it is not open."""
        return self._videos.get(analysis_id)

    def may_give_back(self, analysis_id: int) -> bool:
        """Whether a video may go back without a charge once more.

        The bound is for a cache that keeps no file, and for a video whose decoder processes are killed each time.
        """
        self._given_back[analysis_id] += 1
        return self._given_back[analysis_id] <= _MOST_GIVEN_BACK

    def close(self, analysis_id: int) -> None:
        """Forget a video and delete its file."""
        video = self._videos.pop(analysis_id, None)
        if video is not None:
            video.release()

    def close_all(self) -> None:
        for analysis_id in list(self._videos):
            self.close(analysis_id)


class VideoFiles:
    """Fetches videos to the spool and probes them. Spool and decode processes start when first needed.

    Args:
        settings: of the spool and the decode processes, and `max_bytes`.
        record_environment: stores a fact about the machine with the run.
    """

    def __init__(
        self,
        source: Storage,
        settings: Settings,
        recorder: RunRecorder,
        record_environment: Callable[[dict[str, Any]], None],
    ) -> None:
        self._source = source
        self._settings = settings
        self._recorder = recorder
        self._record_environment = record_environment
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._spool: Spool | None = None
        self._decoders: DecoderPool | None = None
        self._set_aside: list[OpenVideo] = []

    @property
    def decoders(self) -> DecoderPool:
        with self._lock:
            if self._decoders is None:
                decoders = self._stack.enter_context(DecoderPool.from_settings(self._settings))
                self._record_environment({"sandbox": decoders.confinement.to_json()})
                self._decoders = decoders
            return self._decoders

    def check_sandbox(self) -> None:
        """Check, before the first video is claimed, that this host confines decode processes as the settings demand.

        Raises:
            NightreelError: as `DecoderPool.confinement`: every video would fail in the same way.
        """
        if self._settings.sandbox == "strict":
            _ = self.decoders

    def fetch(self, video: OpenVideo) -> Path:
        """The video on disk, fetched at the first call.

        Raises:
            NightreelError: as `Storage.fetch`; TransientError `object_changed` also if the bytes differ from those
                that had this ETag before.
        """
        wanted = video.claim.video
        with video.lock:
            video.idle = False
            if video.path is None:
                with self._recorder.stage("fetch"):
                    directory = video.file.enter_context(self._open_spool().admit(wanted.size_bytes))
                    fetched = self._source.fetch(
                        wanted.uri,
                        etag=wanted.etag,
                        destination=directory / _file_name(wanted.uri),
                        max_bytes=self._settings.max_bytes,
                    )
                self._recorder.count("fetched")
                if video.content_sha256 not in ("", fetched.content_sha256):
                    raise TransientError(
                        Reason.OBJECT_CHANGED,
                        f"{wanted.uri}: ETag {wanted.etag} had other bytes before: list the source again",
                    )
                video.file.callback(self._close_file, fetched.path)
                video.path, video.content_sha256 = fetched.path, fetched.content_sha256
            return video.path

    def set_aside(self, video: OpenVideo) -> None:
        """Keep the file, in case the video is decoded again, until another file needs the space."""
        with video.lock:
            video.idle = video.path is not None
        with self._lock:
            self._set_aside = [*(other for other in self._set_aside if other.idle), video]
            spool = self._spool
        if spool is not None and spool.is_awaited:
            self._release_idle()

    def _release_idle(self) -> None:
        with self._lock:
            videos, self._set_aside = self._set_aside, []
        for video in videos:
            video.release_if_idle()

    def probe(self, video: OpenVideo) -> Probe:
        """The probe of the video's file, made at the first call.

        Raises:
            NightreelError: as `fetch` and `DecoderPool.probe`.
        """
        path = self.fetch(video)
        with video.lock:
            if video.probe is None:
                with self._recorder.stage("probe"):
                    video.probe = self.decoders.probe(path)
            return video.probe

    def _close_file(self, path: Path) -> None:
        with self._lock:
            if self._decoders is not None:
                self._decoders.close_file(path)

    def close(self) -> None:
        """Stop the decode processes and empty the spool."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open_spool(self) -> Spool:
        with self._lock:
            if self._spool is None:
                limit_bytes = self._settings.spool_mib << 20
                spool = Spool(self._settings.work_dir / "spool", limit_bytes=limit_bytes, on_full=self._release_idle)
                self._spool = self._stack.enter_context(spool)
            return self._spool


def _file_name(uri: str) -> str:
    """A harmless file name that a person can recognise in an error.

    >>> _file_name("s3://bucket/a/../.b c;rm.mp4"), _file_name("s3://bucket/%2e%2e")
    ('b_c_rm.mp4', '2e_2e')
    """
    return re.sub(r"[^A-Za-z0-9.-]+", "_", uri.rsplit("/", 1)[-1][-80:]).strip("._-") or "video"
