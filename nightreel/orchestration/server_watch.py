"""Asks the Prefect server every few seconds whether it is there. `runs` starts one for each run.

Prefect's own client waits a minute for each request to a server that is gone, and a run makes many. So a run asks here
before it sends what only informs people, and `domain.run_health` decides when the run ends without its server.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
from prefect.client.orchestration import get_client
from prefect.context import SettingsContext, get_settings_context

from nightreel.errors import NightreelError
from nightreel.orchestration.prefect_errors import prefect_errors

_ASK_EVERY_S = 5.0
_ANSWER_WITHIN_S = 5.0
_LOOK_EVERY_S = 1.0

logger = logging.getLogger(__name__)


@contextmanager
def one_try() -> Iterator[None]:
    """Requests of Prefect's clients within the block are not repeated: the caller does that, or can do without.

    Copies the settings in force. Prefect's `temporary_settings` reads and checks all of them again, which takes 30 ms,
    and a run enters this block a dozen times.
    """
    context = get_settings_context()
    client = context.settings.client.model_copy(update={"max_retries": 0})
    once = context.settings.model_copy(update={"client": client})
    with SettingsContext(profile=context.profile, settings=once):
        yield


class ServerWatch:
    """Watches the server of Prefect's settings within its context.

    Args:
        patience_s: a server that does not respond for this long is gone.
    """

    def __init__(self, patience_s: float, *, ask_every_s: float = _ASK_EVERY_S) -> None:
        self.patience_s = patience_s
        self._ask_every_s = ask_every_s
        self._silent_since: float | None = None
        self._stop = threading.Event()
        self._stack = ExitStack()

    @property
    def silent_s(self) -> float:
        """Seconds for which the server has not responded; 0 if its last response came in time."""
        since = self._silent_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def is_gone(self) -> bool:
        return self.silent_s >= self.patience_s

    def settle(self, within_s: float = math.inf) -> bool:
        """Wait until the server responds or is gone. Returns whether it is gone.

        Args:
            within_s: it counts as gone after this time, too.
        """
        until = time.monotonic() + within_s
        self._ask()
        while 0 < self.silent_s < self.patience_s and time.monotonic() < until:
            time.sleep(_LOOK_EVERY_S)
            self._ask()
        return self.silent_s > 0

    @contextmanager
    def informing(self, what: str) -> Iterator[None]:
        """Send what only informs people: once, and an error is logged. Check `silent_s` before."""
        try:
            with one_try(), prefect_errors():
                yield
        except NightreelError as error:
            logger.warning("%s was not sent: %s", what, error)

    def __enter__(self) -> ServerWatch:
        # Made here: a new thread lacks Prefect's settings.
        settings = {"timeout": _ANSWER_WITHIN_S}
        self._client = self._stack.enter_context(get_client(httpx_settings=settings, sync_client=True))
        thread = threading.Thread(target=self._watch, name="prefect-server-watch", daemon=True)
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(self._stop.set)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _watch(self) -> None:
        while not self._stop.wait(self._ask_every_s):
            self._ask()

    def _ask(self) -> None:
        asked_at = time.monotonic()
        with one_try():
            error = self._client.api_healthcheck()
        if not _no_response(error):
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = asked_at
            logger.warning("the Prefect server does not respond: the run ends if this lasts %.0f s", self.patience_s)


def _no_response(error: Exception | None) -> bool:
    """Whether the server did not respond: an answer that refuses the request is a response, one of a proxy is not."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
    return error is not None
