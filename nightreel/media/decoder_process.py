"""The inner side of the sandbox: a fork server with the decoders loaded, and the decoder processes it forks.

`fork_server` starts it as a separate program without the pipeline's environment, so no secret, thread or GPU context of
the pipeline is in a process that opens untrusted media. The fork server opens no file. A decoder process opens one file
after another, as requests name them.

    pool ──spawn, socket──▶ fork server ──fork──▶ decoder process ◀──requests, replies──▶ pool
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import decord
import numpy as np

from nightreel.errors import NightreelError, PermanentError, TransientError
from nightreel.media.confinement import confine, least_address_space_left_bytes, limit_cpu_time
from nightreel.media.decode_job import DecodeJob
from nightreel.media.decoding import Decoded, decode
from nightreel.media.demuxing import is_memory_error
from nightreel.media.inspection import probe_file
from nightreel.media.probe import MediaLimits
from nightreel.media.transport import ConnectionLostError, receive, send
from nightreel.reasons import Reason

_ORPHAN_CHECK_S = 1.0
_MOST_BYTES_A_PIXEL = 8  # in a decoded picture: 4 components of 16 bits


def serve(control: socket.socket) -> None:
    """Fork decoder processes and collect dead ones on request, until the pool's process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pool handles Ctrl-C
    decord.logging.set_level(decord.logging.ERROR)
    pool = os.getppid()
    send(control, {"ready": True})
    while os.getppid() == pool:
        # A child of the pool's process may keep the pool's end of the socket open: check the parent process too.
        if not select.select([control], [], [], _ORPHAN_CHECK_S)[0]:
            continue
        try:
            message, _, fd = receive(control)
        except ConnectionLostError:
            return
        match message:
            case {"spawn": limits}:
                assert fd is not None
                send(control, {"pid": _fork(control, fd, limits)})
                os.close(fd)
            case {"collect": pid}:
                _, status = os.waitpid(pid, 0)
                send(control, {"exit": os.waitstatus_to_exitcode(status)})


def _fork(control: socket.socket, fd: int, limits: dict[str, Any]) -> int:
    server = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        control.close()
        confine(memory_bytes=limits["memory_bytes"], parent=server)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        _work(socket.socket(fileno=fd))
        status = 0
    finally:
        os._exit(status)  # never return to the server's loop


def _work(connection: socket.socket) -> None:
    while True:
        try:
            request, _, fd = receive(connection)
        except ConnectionLostError:
            return
        limit_cpu_time(request["cpu_s"])
        try:
            reply, blob = _answer(request, fd)
        except NightreelError as error:
            reply, blob = _error(_named(request, error)), b""
        except Exception as error:  # noqa: BLE001  any error that a hostile file provokes is that file's error
            reply, blob = _error(_explain(request, error)), b""
        finally:
            if fd is not None:
                os.close(fd)
        send(connection, reply, blob=blob)


def _decode(path: Path, job: DecodeJob, frames_thwc: np.ndarray) -> Decoded:
    """Decode, and distinguish damage from lack of memory: some decoders report a failed allocation as "no frame".

    Raises:
        MemoryError: a picture is missing or damaged, and the address space had no room for another picture.
    """
    damage: PermanentError | None = None
    try:
        decoded = decode(path, job, frames_thwc)
        if not any(decoded.flags):
            return decoded
    except PermanentError as error:
        damage = error
    if least_address_space_left_bytes() < job.source_pixels * _MOST_BYTES_A_PIXEL:
        raise MemoryError
    if damage:
        raise damage
    return decoded


def _named(request: dict[str, Any], error: NightreelError) -> NightreelError:
    """The error with the name of the file in front, if its message has no name."""
    name = Path(request["path"]).name
    return error if name in error.detail else type(error)(error.reason, f"{name}: {error.detail}")


def _explain(request: dict[str, Any], error: Exception) -> NightreelError:
    """The error for a person. ffmpeg's errors are errors of the operating system only by their class."""
    name, of_ffmpeg = Path(request["path"]).name, isinstance(error, av.error.FFmpegError)
    if is_memory_error(error):
        if of_ffmpeg and least_address_space_left_bytes() > _most_bytes_at_once(request):
            detail = "is damaged: a number in it makes ffmpeg ask for more memory than a valid file needs"
            return PermanentError(Reason.UNREADABLE, f"{name} {detail}: repeat the upload, or repair the file")
        limit = request["memory_mib"]
        return PermanentError(
            Reason.DECODE_MEMORY, f"{name} needs more memory than NIGHTREEL_DECODE_MEMORY_MIB={limit} allows"
        )
    if isinstance(error, OSError) and not of_ffmpeg:
        cause = error.strerror or type(error).__name__
        return TransientError(Reason.FILE_UNREADABLE, f"{name} cannot be read from the disk ({cause}): check the disk")
    cause = f"{type(error).__name__}: {error}".replace(request["path"], "the file")
    return PermanentError(
        Reason.DECODER_FAILED, f"{name}: decoding failed with an unexpected error ({cause}): report this message"
    )


def _most_bytes_at_once(request: dict[str, Any]) -> int:
    """The largest piece of memory that a valid file may need: one picture, or one packet."""
    max_pixels = request["limits" if request["op"] == "probe" else "job"]["max_pixels"]
    return int(max_pixels) * _MOST_BYTES_A_PIXEL + Path(request["path"]).stat().st_size


def _error(error: NightreelError) -> dict[str, Any]:
    return {"error": {"transient": isinstance(error, TransientError), "reason": error.reason, "detail": error.detail}}


def _answer(request: dict[str, Any], fd: int | None) -> tuple[dict[str, Any], bytes]:
    path = Path(request["path"])
    match request["op"]:
        case "probe":
            probe = probe_file(path, MediaLimits(**request["limits"]))
            return {"probe": probe.to_message()}, probe.index.to_bytes()
        case "decode":
            assert fd is not None
            job = DecodeJob.from_json(request["job"])
            shape = (len(job.frames), job.height, job.width, 3)
            shared = mmap.mmap(fd, int(np.prod(shape)))  # unmapped when the last array on it is freed
            decoded = _decode(path, job, np.frombuffer(shared, np.uint8).reshape(shape))
            return asdict(decoded), b""
    raise AssertionError(f"{request['op'] = }")


def main() -> None:
    """Entry point: the only argument is the control socket's descriptor."""
    serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
