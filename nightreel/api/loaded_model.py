"""The model of the service: loaded for the first question, released some minutes after the last one."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from nightreel.api.problems import busy
from nightreel.models.base import VideoModel
from nightreel.models.loading import load_model
from nightreel.settings import Settings

_RETRY_AFTER_S = 20

logger = logging.getLogger(__name__)


class LoadedModel:
    """Thread-safe. It never waits: a question that comes while another one is answered is refused."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._model: VideoModel | None = None
        self._timer: threading.Timer | None = None

    @property
    def is_loaded(self) -> bool:
        return self._model is not None

    def refuse_if_busy(self) -> None:
        """Raise as `taken` would now."""
        if self._lock.locked():
            raise _busy()

    @contextmanager
    def taken(self) -> Iterator[VideoModel]:
        """The model, for one question.

        Raises:
            Problem: 429: it answers another question.
            NightreelError: as `load_model`.
        """
        if not self._lock.acquire(blocking=False):
            raise _busy()
        try:
            if self._timer is not None:
                self._timer.cancel()
            if self._model is None:
                self._model = load_model(self._settings)
            yield self._model
        finally:
            self._timer = threading.Timer(self._settings.api_model_idle_s, self._release_if_idle)
            self._timer.daemon = True
            self._timer.start()
            self._lock.release()

    def close(self) -> None:
        """Release the model, after the question that it answers."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._release()

    def _release_if_idle(self) -> None:
        if self._lock.acquire(blocking=False):
            try:
                if threading.current_thread() is self._timer:  # else a question came meanwhile
                    self._release()
            finally:
                self._lock.release()

    def _release(self) -> None:
        if self._model is not None:
            self._model.close()
            self._model = None
            gc.collect()  # device memory is freed with the last reference, and models have circles
            logger.info("released the model %s", self._settings.model)


def _busy() -> Exception:
    return busy("the model answers another question: ask again", retry_after_s=_RETRY_AFTER_S)
