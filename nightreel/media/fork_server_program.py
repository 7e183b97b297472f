"""The fork server: a program with the decoders loaded, which forks decoder processes, each for one file.

`fork_server` starts it without the pipeline's environment, so no secret, thread or GPU context of the pipeline is in a
process that opens untrusted media. It opens no file itself.

    pool ──▶ this program ──▶ its fork in new namespaces, the server ──fork──▶ decoder process ◀──request, reply──▶ pool
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from functools import partial
from typing import Any

from nightreel.kernel.syscalls import forbid_inspection
from nightreel.media.confinement import (
    Namespaces,
    confine,
    count_threads_of_user,
    die_with_parent,
    enter_namespaces,
)
from nightreel.media.transport import ConnectionLostError, receive, send

_ORPHAN_CHECK_S = 1.0
_COUNT_EVERY_S = 10.0
_MOST_TEXT_BYTES = 2**16
_STDERR = 2


def main() -> None:
    """Entry point: the only argument is the control socket's descriptor."""
    control = socket.socket(fileno=int(sys.argv[1]))
    pool = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pool handles Ctrl-C
    forbid_inspection()
    namespaces = enter_namespaces()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    server = os.fork()
    if server:
        control.close()
        _wait(server, pool)
        return
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    die_with_parent()
    _Server(control, namespaces).serve()


def _wait(server: int, pool: int) -> None:
    """Until the server or the pool's process ends. The server dies with this process."""
    while os.getppid() == pool:
        signal.sigtimedwait({signal.SIGCHLD}, _ORPHAN_CHECK_S)
        if os.waitpid(server, os.WNOHANG)[0]:
            return


class _Server:
    def __init__(self, control: socket.socket, namespaces: Namespaces) -> None:
        self._control = control
        self._namespaces = namespaces
        self._children: set[int] = set()
        self._threads_of_user, self._counted_at = count_threads_of_user(), time.monotonic()
        self._parent = os.getppid()

    def serve(self) -> None:
        """Fork and end decoder processes on request, until the pool or this program's first process is gone."""
        from nightreel.media import decoder_process  # loads the decoders, after the namespaces were entered

        gc.disable()
        gc.freeze()

        with suppress(ConnectionLostError):
            send(self._control, {"confinement": self._try_confinement(decoder_process)})
            while os.getppid() == self._parent:
                # A child of the pool's process may keep the pool's end of the socket open.
                if select.select([self._control], [], [], _ORPHAN_CHECK_S)[0]:
                    self._answer_one(decoder_process)
        for pid in list(self._children):
            self._end(pid)

    def _answer_one(self, decoder_process: Any) -> None:
        message = receive(self._control, most_text_bytes=_MOST_TEXT_BYTES, most_fds=1)
        match json.loads(message.text):
            case {"spawn": True}:
                (fd,) = message.fds
                pid = self._fork(decoder_process, fd)
                os.close(fd)
                send(self._control, {"pid": pid})
            case {"end": pid, "grace_s": grace_s}:
                send(self._control, self._end(pid, grace_s=grace_s))

    def _try_confinement(self, decoder_process: Any) -> dict[str, Any]:
        """What confines a decoder process, as one finds it that does nothing else."""
        near, far = socket.socketpair()
        with near, far:
            pid = self._fork(decoder_process, far.fileno(), trial=True)
            far.close()
            found: dict[str, Any] = json.loads(receive(near, most_text_bytes=_MOST_TEXT_BYTES).text)
        self._end(pid)
        return found

    def _fork(self, decoder_process: Any, fd: int, *, trial: bool = False) -> int:
        if time.monotonic() - self._counted_at > _COUNT_EVERY_S:
            self._threads_of_user, self._counted_at = count_threads_of_user(), time.monotonic()
        pid = os.fork()
        if pid:
            self._children.add(pid)
            return pid
        status = 1
        try:
            die_with_parent()
            os.dup2(os.memfd_create("errors"), _STDERR)
            os.closerange(_STDERR + 1, fd)
            os.closerange(fd + 1, os.sysconf("SC_OPEN_MAX"))
            connection = socket.socket(fileno=fd)
            confine_here = partial(confine, namespaces=self._namespaces, threads_of_user=self._threads_of_user)
            run = decoder_process.report_confinement if trial else decoder_process.answer_requests
            run(connection, confine_here)
            status = 0
        finally:
            os._exit(status)  # never return to the server's loop

    def _end(self, pid: int, *, grace_s: float = 0.0) -> dict[str, Any]:
        """End a decoder process.

        Args:
            grace_s: how long it may still run.

        Returns:
            "exit": its exit code as `subprocess` gives it; "killed": whether it still ran.
        """
        deadline = time.monotonic() + grace_s
        ended, status = os.waitpid(pid, os.WNOHANG)
        while not ended and time.monotonic() < deadline:
            time.sleep(0.001)
            ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        self._children.discard(pid)
        return {"exit": os.waitstatus_to_exitcode(status), "killed": not ended}


if __name__ == "__main__":
    main()
