"""The near side of the fork server: start it, have it fork decoder processes, talk to them and end them.

Called by `sandbox` alone. Knows processes and messages; knows nothing of videos.
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
# Nothing of the pipeline's environment, which may hold its secrets, reaches a process that decodes.
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",  # decord appends to it while it is imported
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


class DecoderProcess:
    """One decoder process and the socket to it. Used by one thread at a time."""

    def __init__(self, server: ForkServer, connection: socket.socket, *, pid: int, generation: int) -> None:
        self._server, self._connection = server, connection
        self._pid, self._generation = pid, generation
        self._exit_code: int | None = None
        self._ended = False
        self.jobs = 0

    def ask(self, request: dict[str, Any], *, timeout_s: float, fd: int | None = None) -> tuple[dict[str, Any], bytes]:
        """Send a request and wait for the reply and its blob.

        Raises:
            DeadlineError, ConnectionLostError: after either the process is of no more use.
        """
        deadline = time.monotonic() + timeout_s
        self._connection.settimeout(timeout_s)
        send(self._connection, request, fd=fd)
        reply, blob, _ = receive(self._connection, deadline=deadline)
        self.jobs += 1
        return reply, blob

    def end(self) -> int | None:
        """Kill the process, unless it has died, and return its exit code as `subprocess` gives it; None: not known."""
        if not self._ended:
            self._ended = True
            self._connection.close()
            self._exit_code = self._server.collect(self._pid, generation=self._generation)
        return self._exit_code


class ForkServer:
    """The program `decoder_process`, started when a process is first asked for, and again should it die."""

    def __init__(self, *, memory_bytes: int) -> None:
        self._limits = {"memory_bytes": memory_bytes}
        self._lock = threading.Lock()
        self._program: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._generation = 0

    def spawn(self) -> DecoderProcess:
        """A new decoder process.

        Raises:
            TransientError: none could be started.
        """
        near, far = socket.socketpair()
        with self._lock, far:
            try:
                if self._program is None or self._program.poll() is not None:
                    self._start()
                pid = self._ask({"spawn": self._limits}, fd=far.fileno())["pid"]
            except (ConnectionLostError, DeadlineError, OSError) as error:
                near.close()
                raise TransientError(Reason.DECODER_START, f"no decoder process could be started: {error!r}") from error
            return DecoderProcess(self, near, pid=pid, generation=self._generation)

    def collect(self, pid: int, *, generation: int) -> int | None:
        """Kill process `pid` and take its exit code from the kernel; None where its fork server died before it."""
        with self._lock:
            if self._control is None or generation != self._generation:
                return None  # killed with its server; the number may be another process's by now
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # the server has not collected it yet: the number is still its own
            try:
                exit_code: int | None = self._ask({"collect": pid})["exit"]
                return exit_code
            except (ConnectionLostError, DeadlineError):
                return None

    def _ask(self, message: dict[str, Any], *, fd: int | None = None) -> dict[str, Any]:
        """One question and its answer. What interrupts it ends the server: a late answer would pass for the next."""
        assert self._control is not None
        try:
            send(self._control, message, fd=fd)
            reply, _, _ = receive(self._control, deadline=time.monotonic() + _ANSWER_TIMEOUT_S)
        except BaseException:
            self._stop()
            raise
        return reply

    def close(self) -> None:
        """End the server; the kernel ends its decoder processes with it."""
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
                start_new_session=True,  # a Ctrl-C in the terminal is for the pipeline alone
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
