"""The pipeline's side of the fork server: start it, have it fork decoder processes, exchange messages with them.

Only `sandbox` and `doctor` call it. It handles processes and messages and knows nothing about videos.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from nightreel.errors import TransientError
from nightreel.kernel.syscalls import forbid_inspection
from nightreel.media.confinement import Confinement
from nightreel.media.transport import ConnectionLostError, DeadlineError, Message, receive, send
from nightreel.reasons import Reason

_START_TIMEOUT_S = 120.0
_ANSWER_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 2.0
_GRACE_S = 0.2  # for a decoder process that closed its connection to end by itself
_MOST_TEXT_BYTES = 2**16
_PROGRAM = "import sys; sys.path[:] = {path!r}; from nightreel.media.fork_server_program import main; main()"
# The pipeline's environment may hold secrets: none of it reaches a decoder process.
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",  # decord appends to PATH when it is imported
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # Pictures lie in the heap, in huge pages: a new process pays for each page that it touches for the first time.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
}


@contextmanager
def _starting() -> Iterator[None]:
    try:
        yield
    except (ConnectionLostError, DeadlineError, OSError) as error:
        raise TransientError(Reason.DECODER_START, f"cannot start a decoder process: {error!r}") from error


class Ending(NamedTuple):
    """How a decoder process ended.

    Args:
        exit_code: as `subprocess` gives it; None if the fork server died first.
        killed: it still ran, and was killed.
    """

    exit_code: int | None
    killed: bool


class DecoderProcess:
    """One decoder process and the socket to it. Only one thread may use it at a time."""

    def __init__(self, server: ForkServer, connection: socket.socket, *, pid: int, generation: int) -> None:
        self._server, self._connection = server, connection
        self._pid, self._generation = pid, generation
        self._ending: Ending | None = None
        self.asked = False

    @property
    def ended(self) -> bool:
        return self._ending is not None

    def ask(
        self,
        request: dict[str, Any],
        *,
        fds: Sequence[int],
        most_text_bytes: int,
        most_blob_bytes: int,
        timeout_s: float,
    ) -> Message:
        """Send a request and wait for the reply.

        Raises:
            DeadlineError, ConnectionLostError.
        """
        deadline = time.monotonic() + timeout_s
        self.asked = True
        self._connection.settimeout(timeout_s)
        send(self._connection, request, fds=fds)
        return receive(
            self._connection, most_text_bytes=most_text_bytes, most_blob_bytes=most_blob_bytes, deadline=deadline
        )

    def end(self, *, grace_s: float = 0.0) -> Ending:
        """Kill the process if it still runs after `grace_s`. Afterwards nothing writes to memory that it shares."""
        if self._ending is None:
            self._connection.close()
            self._ending = self._server.end(self._pid, generation=self._generation, grace_s=grace_s)
        return self._ending

    def why_lost(self) -> Ending:
        """How the process ended that broke off the connection."""
        return self.end(grace_s=_GRACE_S)


class ForkServer:
    """The program `fork_server_program`. It starts when the first process is needed, and again if it dies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._program: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._confinement: Confinement | None = None
        self._generation = 0

    @property
    def confinement(self) -> Confinement:
        """What confines decoder processes on this host.

        Raises:
            TransientError: the program could not be started.
        """
        with self._lock, _starting():
            self._ensure_started()
        assert self._confinement is not None
        return self._confinement

    def spawn(self) -> DecoderProcess:
        """Start a new decoder process.

        Raises:
            TransientError: it could not be started.
        """
        near, far = socket.socketpair()
        with self._lock, far:
            try:
                with _starting():
                    self._ensure_started()
                    pid = self._ask({"spawn": True}, fds=[far.fileno()])["pid"]
            except TransientError:
                near.close()
                raise
            return DecoderProcess(self, near, pid=pid, generation=self._generation)

    def end(self, pid: int, *, generation: int, grace_s: float) -> Ending:
        """Have process `pid` ended."""
        with self._lock:
            if self._control is None or generation != self._generation:
                return Ending(None, killed=True)  # it died with its server
            try:
                answer = self._ask({"end": pid, "grace_s": grace_s})
            except (ConnectionLostError, DeadlineError):
                return Ending(None, killed=True)
            return Ending(answer["exit"], answer["killed"])

    def _ask(self, message: dict[str, Any], *, fds: Sequence[int] = ()) -> dict[str, Any]:
        """Send one request and return its reply. Any error stops the server: its late reply would answer the next."""
        assert self._control is not None
        try:
            send(self._control, message, fds=fds)
            return self._receive(self._control, _ANSWER_TIMEOUT_S)
        except BaseException:
            self._stop()
            raise

    def _receive(self, control: socket.socket, timeout_s: float) -> dict[str, Any]:
        message = receive(control, most_text_bytes=_MOST_TEXT_BYTES, deadline=time.monotonic() + timeout_s)
        values: dict[str, Any] = json.loads(message.text)
        return values

    def close(self) -> None:
        """Stop the server and its decoder processes."""
        with self._lock:
            self._stop()

    def _ensure_started(self) -> None:
        if self._program is not None and self._program.poll() is None:
            return
        self._stop()
        self._generation += 1
        forbid_inspection()  # of this process, whose memory and environment hold secrets
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
            self._confinement = Confinement(**self._receive(near, _START_TIMEOUT_S)["confinement"])
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()  # the server ends its processes, then itself
            self._control = None
        if self._program is not None:
            with suppress(subprocess.TimeoutExpired):
                self._program.wait(_STOP_TIMEOUT_S)
            self._program.kill()
            self._program.wait()
            self._program = None
