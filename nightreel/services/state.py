"""The recorded state of a server, and its state in the operating system: its process, its port.

`process` and `endpoints` use it. A recorded pid is still the server if its command line matches, which contains the
port and a mark of the directory. A recycled pid has another command line. A creation time would not do: psutil derives
it from the wall clock, so that it moves when the clock is set.
"""

from __future__ import annotations

import json
import secrets
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from nightreel.services.locking import write_private

_LOWEST_PORT, _PORTS = 20_000, 12_000
_EXEC_WITHIN_S = 2.0  # milliseconds, on a host with an idle core
_LOOK_EVERY_S = 0.005


@dataclass(frozen=True, kw_only=True)
class ServerState:
    """The recorded state of a server. `pid` None with an `argv`: its launcher was killed before it wrote the pid."""

    port: int
    argv: tuple[str, ...] = ()
    pid: int | None = None
    kept: bool = False  # runs until `down`, even if unused


def read_state(path: Path) -> ServerState | None:
    """The last recorded state; None before the first start, or if another program wrote the file."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return ServerState(**{**values, "argv": tuple(values["argv"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def write_state(path: Path, state: ServerState) -> None:
    write_private(path, json.dumps(asdict(state), indent=1) + "\n")


def find_process(state: ServerState) -> psutil.Process | None:
    """The recorded process if it lives, or None."""
    if not state.argv:
        return None
    if state.pid is None:
        return next((process for process in psutil.process_iter() if _runs(process, state.argv)), None)
    try:
        process = psutil.Process(state.pid)
        _await_command_line(process)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return process if _runs(process, state.argv) else None


def pids_with_open(path: Path) -> list[int]:
    """The processes that have this file open, as far as this user may see them."""
    return [process.pid for process in psutil.process_iter() if _has_open(process, path)]


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A free port of 127.0.0.1.

    It lies below the range that operating systems use for outgoing connections, so that a stopped server finds its port
    free again.
    """
    while not is_free(port := _LOWEST_PORT + secrets.randbelow(_PORTS)):
        pass
    return port


def _await_command_line(process: psutil.Process) -> None:
    """Wait for the end of an exec. Its caller goes on before the kernel has set the new command line."""
    until = time.monotonic() + _EXEC_WITHIN_S
    while not process.cmdline() and time.monotonic() < until:
        time.sleep(_LOOK_EVERY_S)


def _runs(process: psutil.Process, argv: tuple[str, ...]) -> bool:
    try:
        return process.cmdline() == list(argv) and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _has_open(process: psutil.Process, path: Path) -> bool:
    try:
        return any(file.path == str(path) for file in process.open_files())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
