"""What `process` wants to know of a server to run it for several commands. `postgres` and `prefect_server` answer."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

StopSignals = tuple[tuple[signal.Signals, float], ...]  # each with the seconds it may take; SIGKILL follows


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How to run a server: what `subprocess.Popen` takes. `user` None: as the one who asks."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: Path
    user: int | None = None
    group: int | None = None


class Program(Protocol):
    """What is particular to one server."""

    name: str
    directory: Path
    start_timeout_s: float
    stop_signals: StopSignals

    def prepare(self) -> None:
        """Make what must be there before a start. Called under the lock, with no server running."""

    def launch(self, port: int) -> Launch:
        """The command line of a server on 127.0.0.1:port. It must differ from that of any other server."""

    def why_not_ready(self, process: psutil.Process, port: int, /) -> str | None:
        """None when this process answers on this port, else the reason in words."""

    def settle(self, port: int, /) -> None:
        """Wait, within bounds, for what the server would lose by an end in good order. Called before a stop."""
