"""The program between a run and vLLM. It needs only the standard library, and runs as the leader of a process group.

    python -I warden.py DIRECTORY LOG LIMIT_BYTES COMMAND ...

It starts the command, writes its output to the log, and ends when the command ends, whose exit status it prints, or
when standard input ends: the run closed it, or was killed. Then it deletes the directory, too. In both cases it ends
all processes of its group, which are those of vLLM. If the warden itself is killed, the kernel kills the command, and
the run kills the group.

Where the kernel allows it, vLLM gets a network of its own, which has only a loopback: other users of the host cannot
reach its internal ports. The socket that the run uses is a file.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

STARTED = "warden: vLLM starts"
"""The first line of the log of each vLLM."""

_GRACE_S = 5.0
_LOOK_EVERY_S = 0.5
_PIECE = 1 << 16
_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class Log:
    """The output of a command in at most two files, each of at most `limit_bytes`."""

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._path, self._limit_bytes = path, limit_bytes
        self._file = self._open()

    def write(self, data: bytes) -> None:
        if self._file.tell() + len(data) > self._limit_bytes:
            self._file.close()
            self._path.replace(f"{self._path}.1")
            self._file = self._open()
        self._file.write(data)

    def _open(self) -> IO[bytes]:
        return os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0)


def main(directory: str, log_path: str, limit_bytes: str, *command: str) -> None:
    log = Log(Path(log_path), int(limit_bytes))
    log.write(f"{STARTED}\n".encode())
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # its group gets them, too
    try:
        _leave_the_network()
    except OSError as error:
        log.write(f"warden: vLLM shares the network of this host: {error}\n".encode())
    is_left = False
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=_prepare
        )
        assert child.stdout
        is_left = _pump(child, child.stdout, log)
        status = child.poll()
        os.killpg(0, signal.SIGTERM)
        _drain(child, child.stdout, log)
        print("" if status is None else status, flush=True)  # noqa: T201 - the run reads it
    finally:
        if is_left:
            shutil.rmtree(directory, ignore_errors=True)
        os.killpg(0, signal.SIGKILL)  # itself, too


def _prepare() -> None:
    for restored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(restored, signal.SIG_DFL)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _pump(child: subprocess.Popen[bytes], output: IO[bytes], log: Log) -> bool:
    """Copy output until the command or standard input ends. Returns whether standard input ended: the run is gone."""
    while child.poll() is None:
        ready, _, _ = select.select([sys.stdin, output], [], [], _LOOK_EVERY_S)
        if output in ready:
            log.write(os.read(output.fileno(), _PIECE))
        if sys.stdin in ready and not os.read(sys.stdin.fileno(), _PIECE):
            return True
    return False


def _drain(child: subprocess.Popen[bytes], output: IO[bytes], log: Log) -> None:
    """Copy output until nobody writes any more, for some seconds at most."""
    give_up_at = time.monotonic() + _GRACE_S
    while (left_s := give_up_at - time.monotonic()) > 0:
        ready, _, _ = select.select([output], [], [], left_s)
        data = os.read(output.fileno(), _PIECE) if ready else b""
        if not data:
            return
        log.write(data)
    child.poll()


def _leave_the_network() -> None:
    """Give this process and its children a network with a loopback alone. Raises OSError where this is not allowed."""
    user, group = os.getuid(), os.getgid()
    if _LIBC.unshare(_CLONE_NEWNET):
        if _LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            Path("/proc/self", name).write_text(text)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh22x", b"lo", 0)
        (flags,) = struct.unpack("16xh22x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        main(*sys.argv[1:])
