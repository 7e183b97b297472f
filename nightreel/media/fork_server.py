"""The pipeline's side of the fork server: start it, have it fork decoder processes, send requests and kill processes.

Only `sandbox` calls it. It handles processes and messages and knows nothing about videos.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from nightreel.errors import TransientError
from nightreel.media.transport import ConnectionLostError, DeadlineError, receive, send
from nightreel.reasons import Reason

_START_TIMEOUT_S = 120.0
_ANSWER_TIMEOUT_S = 10.0
_PROGRAM = "import sys; sys.path[:] = {path!r}; from nightreel.media.decoder_process import main; main()"
# The pipeline's environment may hold secrets: none of it reaches a decoder process.
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",  # decord appends to PATH when it is imported
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


class DecoderProcess:
    """One decoder process and the socket to it. Only one thread may use it at a time."""

    def __init__(self, server: ForkServer, connection: socket.socket, *, pid: int, generation: int) -> None:
        self._server, self._connection = server, connection
        self._pid, self._generation = pid, generation
        self._exit_code: int | None = None
        self._ended = False
        self.jobs = 0

    def ask(self, request: dict[str, Any], *, timeout_s: float, fd: int | None = None) -> tuple[dict[str, Any], bytes]:
        """Send a request and wait for the reply and its blob.

        Raises:
            DeadlineError, ConnectionLostError: the process cannot be used after either.
        """
        deadline = time.monotonic() + timeout_s
        self._connection.settimeout(timeout_s)
        send(self._connection, request, fd=fd)
        reply, blob, _ = receive(self._connection, deadline=deadline)
        self.jobs += 1
        return reply, blob

    def end(self) -> int | None:
        """Kill the process if it still runs. Returns its exit code as `subprocess` does; None if unknown."""
        if not self._ended:
            self._ended = True
            self._connection.close()
            self._exit_code = self._server.collect(self._pid, generation=self._generation)
        return self._exit_code


class ForkServer:
    """The program `decoder_process`. It starts when the first process is needed, and again if it dies."""

    def __init__(self, *, memory_bytes: int) -> None:
        self._limits = {"memory_bytes": memory_bytes}
        self._lock = threading.Lock()
        self._program: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._generation = 0

    def spawn(self) -> DecoderProcess:
        """Start a new decoder process.

        Raises:
            TransientError: it could not be started.
        """
        near, far = socket.socketpair()
        with self._lock, far:
            try:
                if self._program is None or self._program.poll() is not None:
                    self._start()
                pid = self._ask({"spawn": self._limits}, fd=far.fileno())["pid"]
            except (ConnectionLostError, DeadlineError, OSError) as error:
                near.close()
                raise TransientError(Reason.DECODER_START, f"cannot start a decoder process: {error!r}") from error
            return DecoderProcess(self, near, pid=pid, generation=self._generation)

    def collect(self, pid: int, *, generation: int) -> int | None:
        """Kill process `pid` and return its exit code; None if its fork server died first."""
        with self._lock:
            if self._control is None or generation != self._generation:
                return None  # killed with its server; another process may have this pid now
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # the server has not collected it yet: the pid is still its own
            try:
                exit_code: int | None = self._ask({"collect": pid})["exit"]
                return exit_code
            except (ConnectionLostError, DeadlineError):
                return None

    def _ask(self, message: dict[str, Any], *, fd: int | None = None) -> dict[str, Any]:
        """Send one request and return its reply. Any error stops the server: its late reply would answer the next."""
        assert self._control is not None
        try:
            send(self._control, message, fd=fd)
            reply, _, _ = receive(self._control, deadline=time.monotonic() + _ANSWER_TIMEOUT_S)
        except BaseException:
            self._stop()
            raise
        return reply

    def close(self) -> None:
        """Stop the server; the kernel kills its decoder processes with it."""
        with self._lock:
            self._stop()

    def _start(self) -> None:
        self._stop()
        self._generation += 1
        near, far = socket.socketpair()
        with far:
            self._program = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM.format(path=sys.path), str(far.fileno())],
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(far.fileno(),),
                start_new_session=True,  # a Ctrl-C in the terminal must reach only the pipeline
            )
        self._control = near
        try:
            receive(near, deadline=time.monotonic() + _START_TIMEOUT_S)
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._program is not None:
            self._program.kill()
            self._program.wait()
            self._program = None
