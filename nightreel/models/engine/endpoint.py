"""Requests to the vLLM that this process started, or that is kept: sent again if it died under them.

`loader` makes one. `generation` sends tokens and embeddings with it, `served.remote` chat messages with frames.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Protocol

from nightreel.errors import NightreelError, TransientError
from nightreel.models.served.chat_endpoint import ChatEndpoint
from nightreel.settings import Settings

_URL = "http://vllm/v1"  # the name means nothing: requests go to a socket file


class Engine(Protocol):
    """A vLLM: `process.EngineProcess` is started by this process, `in_use.EngineInUse` by another one.

    Args:
        is_over: it failed or was stopped: no request is sent again. failure: why.
        deaths: how often it ended so far.
    """

    socket_path: Path
    log_path: Path
    is_over: threading.Event
    failure: NightreelError | None
    deaths: int

    def wait_until_ready(self) -> None: ...

    def died_since(self, deaths: int) -> bool: ...

    def log_tail(self) -> str: ...

    def stop(self) -> None: ...


class EngineEndpoint(ChatEndpoint):
    """One vLLM, which `close` stops. Threads may share it.

    Args:
        process: started by the caller.
    """

    def __init__(self, process: Engine, settings: Settings) -> None:
        super().__init__(
            _URL,
            api_key=None,
            timeout_s=settings.remote_timeout_s,
            patience_s=settings.engine_start_s,
            patience_setting="NIGHTREEL_ENGINE_START_S",
            connections=settings.engine_concurrency,
            socket_path=process.socket_path,
        )
        self.process = process

    def close(self) -> None:
        self.process.stop()
        super().close()

    def post(self, path: str, body: dict[str, Any], *, stop: threading.Event, is_trial: bool = False) -> dict[str, Any]:
        """As `ChatEndpoint.post`, and again after vLLM died. Raises `engine_died` if that is too often."""
        while True:
            deaths = self.process.deaths
            try:
                return super().post(path, body, stop=self.process.is_over, is_trial=is_trial)
            except TransientError as error:
                died = not stop.is_set() and self.process.died_since(deaths)
                if self.process.failure:
                    raise self.process.failure from error
                if not died:
                    raise
