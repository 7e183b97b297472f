"""Makes previews of videos that browsers do not play: in the background, one at a time, in the sandbox.

A page asks again and again until its preview is there, so no request waits for an encoder. What no page has asked for
in a while is not begun.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from nightreel.api.fetched import GONE, AnalysedVideo, fetched_video
from nightreel.api.problems import Problem
from nightreel.api.reading import reading
from nightreel.cache.previews import PreviewStore
from nightreel.database.connection import Database
from nightreel.database.view_pages import PageQuery, read_page
from nightreel.database.view_rows import Filter
from nightreel.errors import NightreelError, TransientError
from nightreel.media.preview_plan import RECIPE, Range
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings
from nightreel.storage.spool import Spool

_MOST_WAITING = 50
_FORGOTTEN_AFTER_S = 90.0
"""Browsers let a page in the background ask once a minute."""
_FAILED_FOR_S = 600.0
_TRANSIENT_FOR_S = 60.0
_SWEEP_EVERY_S = 600.0
_CLOSE_S = 10.0

logger = logging.getLogger(__name__)


class PreviewState(StrEnum):
    """How far a preview is."""

    READY = "ready"
    WAITING = "waiting"
    GONE = "gone"  # the object, or the version that was analysed
    FAILED = "failed"
    OFF = "off"


@dataclass(frozen=True, kw_only=True)
class WantedPreview:
    """A preview. `video` has a content. `ranges`, `moments_s`: as `DecoderPool.encode_preview`."""

    video: AnalysedVideo
    ranges: tuple[Range, ...]
    moments_s: tuple[float, ...]

    @property
    def content_sha256(self) -> str:
        assert self.video.content_sha256 is not None
        return self.video.content_sha256

    @cached_property
    def key(self) -> str:
        """Names the file: the same for the same content and parts, whatever the video is called."""
        made_of = [RECIPE, self.content_sha256, self.ranges, self.moments_s]
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class PreviewAnswer:
    """What is known of a preview. `reason`: why it failed; None also for an unexpected error, which is in the log."""

    state: PreviewState
    reason: str | None = None


class PreviewMaker:
    """Thread-safe. Its thread also deletes previews of videos that were erased, from another host say.

    Args:
        database: connected as nightreel_console.
    """

    def __init__(self, settings: Settings, spool: Spool, decoders: DecoderPool, database: Database) -> None:
        self.store = PreviewStore.from_settings(settings)
        self._settings, self._spool, self._decoders, self._database = settings, spool, decoders, database
        self._changed = threading.Condition()
        self._waiting: dict[str, tuple[WantedPreview, float]] = {}  # with the time when somebody asked last
        self._making: str | None = None
        self._failed: dict[str, tuple[PreviewAnswer, float]] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="previews", daemon=True)
        self._thread.start()

    def ask(self, wanted: WantedPreview) -> PreviewAnswer:
        """How far a preview is. It is made if it is missing; a failure counts for some minutes."""
        if not self._settings.console_previews_mib:
            return PreviewAnswer(PreviewState.OFF)
        if self.store.has(wanted.content_sha256, wanted.key):
            return PreviewAnswer(PreviewState.READY)
        now = time.monotonic()
        with self._changed:
            answer, until = self._failed.get(wanted.key, (None, 0.0))
            if answer is not None and now < until:
                return answer
            self._failed = {key: one for key, one in self._failed.items() if now < one[1]}
            if wanted.key != self._making and (wanted.key in self._waiting or len(self._waiting) < _MOST_WAITING):
                self._waiting[wanted.key] = wanted, now
                self._changed.notify()
        return PreviewAnswer(PreviewState.WAITING)

    def close(self) -> None:
        """Make no more. The caller has closed the decoders, so the running one ends."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_CLOSE_S)  # a fetch from a slow store ends later, and finds no spool

    def _work(self) -> None:
        swept_at = float("-inf")
        while True:
            if time.monotonic() - swept_at > _SWEEP_EVERY_S:
                self._sweep()
                swept_at = time.monotonic()
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting, timeout=_SWEEP_EVERY_S)
                if self._closed:
                    return
                wanted = self._next()
            if wanted is not None:
                self._make(wanted)

    def _next(self) -> WantedPreview | None:
        """The one that waits longest and that somebody still wants. The lock is held."""
        while self._waiting:
            key = next(iter(self._waiting))
            wanted, asked_at = self._waiting.pop(key)
            if time.monotonic() - asked_at < _FORGOTTEN_AFTER_S:
                self._making = key
                return wanted
        return None

    def _make(self, wanted: WantedPreview) -> None:
        failure, kept_s = None, _FAILED_FOR_S
        try:
            video = fetched_video(wanted.video, settings=self._settings, spool=self._spool, decoders=self._decoders)
            with video as fetched:
                data = self._decoders.encode_preview(
                    fetched.path, probe=fetched.probe, ranges=wanted.ranges, moments_s=wanted.moments_s
                )
            self.store.put(wanted.content_sha256, wanted.key, data)
        except (Problem, NightreelError) as error:
            state = PreviewState.GONE if error.reason in GONE else PreviewState.FAILED
            failure = PreviewAnswer(state, error.reason)
            kept_s = _TRANSIENT_FOR_S if isinstance(error, TransientError) else _FAILED_FOR_S
            logger.info("no preview of %s: %s", wanted.video.uri, error.reason)
        except Exception:
            failure = PreviewAnswer(PreviewState.FAILED)
            logger.exception("no preview of %s", wanted.video.uri)
        with self._changed:
            self._making = None
            if failure is not None:
                self._failed[wanted.key] = failure, time.monotonic() + kept_s

    def _sweep(self) -> None:
        """Delete previews of contents that no video has any more."""
        try:
            gone = [content for content in self.store.contents() if not self._is_known(content)]
            self.store.erase(gone)
        except Exception:  # the thread goes on: it makes previews, too
            logger.warning("previews of erased videos are deleted later", exc_info=True)

    def _is_known(self, content_sha256: str) -> bool:
        chosen = Filter("content_sha256", "=", content_sha256)
        query = PageQuery(view="videos", columns="video_id", filters=(chosen,), restricted=True, limit=1)
        with reading(self._database, restricted=True) as connection:
            return bool(read_page(connection, query).rows)
