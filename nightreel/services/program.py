"""The interface between `process` and a server. `postgres` and `prefect_server` implement it."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

StopSignals = tuple[tuple[signal.Signals, float], ...]  # signals with their timeouts in seconds; SIGKILL follows


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How to start a server: arguments of `subprocess.Popen`. `user` None: the current user."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: Path
    user: int | None = None
    group: int | None = None


class Program(Protocol):
    """The properties of one server."""

    name: str
    directory: Path
    start_timeout_s: float
    stop_signals: StopSignals

    def prepare(self) -> None:
        """Make the files that a start needs. Called under the lock while no server runs."""

    def launch(self, port: int) -> Launch:
        """The command line of a server on 127.0.0.1:port. It must differ from that of any other server."""

    def why_outdated(self, argv: Sequence[str], /) -> str | None:
        """Why a running server with this command line must not be used: an older version started it. None if it can."""

    def why_not_ready(self, process: psutil.Process, port: int, /) -> str | None:
        """None if this process serves this port, else the reason as text."""

    def settle(self, port: int, /) -> None:
        """Wait, within bounds, until the server holds nothing that a clean stop would lose. Called before a stop."""
