"""How long to wait for a server that restarts: vLLM takes minutes to load a model.

`chat_endpoint` calls it. All threads that use one endpoint share one Outage: they wait until the same moment, and one
line says so.
"""

from __future__ import annotations

import logging
import threading
import time

from nightreel.units import human_seconds

logger = logging.getLogger(__name__)


class Outage:
    """The time for which a server does not respond, from the first failed request to the next response.

    Args:
        place: where the server is. patience_s: longest wait. setting: the variable that sets it.
    """

    def __init__(self, place: str, *, patience_s: float, setting: str) -> None:
        self._place, self._patience_s, self._setting = place, patience_s, setting
        self._since: float | None = None
        self._ended = 0.0
        self._lock = threading.Lock()

    def left_s(self, detail: str, *, began: float) -> float:
        """How long to wait yet, after a request failed that began at `began`; 0: no longer."""
        if not self._patience_s:
            return 0.0
        with self._lock:
            now = time.monotonic()
            if self._since is None and began < self._ended:
                return self._patience_s  # it failed in an outage that has ended
            if self._since is None:
                self._since = now
                logger.warning(
                    "the model server %s does not respond (%s): waiting up to %s=%g s for it",
                    self._place,
                    detail,
                    self._setting,
                    self._patience_s,
                )
            return max(0.0, self._since + self._patience_s - now)

    def end(self) -> None:
        """A request was answered."""
        if self._since is None:
            return
        with self._lock:
            if self._since is not None:
                waited_s = time.monotonic() - self._since
                logger.warning("the model server %s responds again, after %s", self._place, human_seconds(waited_s))
                self._since, self._ended = None, time.monotonic()
