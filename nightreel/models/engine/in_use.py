"""The use of a kept vLLM by one run. `loader` makes one where `kept` finds a keeper."""

from __future__ import annotations

import threading
import time

from nightreel.errors import NightreelError, TransientError
from nightreel.models.engine.kept import KeptEngine, find_kept
from nightreel.models.engine.process import end_of_log, listens
from nightreel.reasons import Reason

_LOOK_EVERY_S = 0.2
_ENDS_WITHIN_S = 10.0


class EngineInUse:
    """The use of a kept vLLM by one run: implements `endpoint.Engine`. Its keeper starts it again when it dies.

    Args:
        start_timeout_s: longest wait for it to listen.
    """

    def __init__(self, kept: KeptEngine, *, start_timeout_s: float) -> None:
        self._kept, self._start_timeout_s = kept, start_timeout_s
        self.socket_path, self.log_path = kept.socket_path, kept.log_path
        self.is_over = threading.Event()
        self.failure: NightreelError | None = None
        self.deaths = 0
        self._socket = self._identify()
        threading.Thread(target=self._watch, name="kept-vllm", daemon=True).start()

    def wait_until_ready(self) -> None:
        """Wait until vLLM listens.

        Raises:
            TransientError: `engine_died`: its keeper has ended, or it does not listen in time.
        """
        give_up_at = time.monotonic() + self._start_timeout_s
        while not listens(self.socket_path):
            if self.is_over.wait(_LOOK_EVERY_S) or time.monotonic() > give_up_at:
                raise self.failure or TransientError(
                    Reason.ENGINE_DIED, f"the vLLM that is kept does not answer; its log: {self.log_path}"
                )

    def died_since(self, deaths: int) -> bool:
        """As `EngineProcess.died_since`."""
        give_up_at = time.monotonic() + _ENDS_WITHIN_S
        while self.deaths == deaths and time.monotonic() < give_up_at and not self.is_over.wait(_LOOK_EVERY_S):
            pass
        return self.deaths > deaths

    def log_tail(self) -> str:
        return end_of_log(self.log_path)

    def stop(self) -> None:
        """End the use. vLLM stays."""
        self.is_over.set()

    def _watch(self) -> None:
        while not self.is_over.wait(_LOOK_EVERY_S):
            found = self._identify()
            if self._socket is not None and found != self._socket:
                self.deaths += 1
            self._socket = found
            if find_kept(self._kept.path) is None:
                self.failure = TransientError(
                    Reason.ENGINE_DIED,
                    "the `nightreel engine serve` that kept vLLM for this run has ended: start it again, or run again "
                    f"without it; the log of vLLM: {self.log_path}",
                )
                self.deaths += 1
                self.is_over.set()

    def _identify(self) -> tuple[int, int] | None:
        """What differs for each vLLM that listens there; None: none does."""
        try:
            status = self.socket_path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_ctime_ns
