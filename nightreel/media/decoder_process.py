"""A decoder process: it answers requests about one file.

`fork_server_program` forks it. It confines itself before it reads a byte of the file, so that whatever the file makes
of it can do no more than send a wrong reply, and that about its own video.
"""

from __future__ import annotations

import importlib
import json
import mmap
import os
import pkgutil
import socket
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import decord
import numpy as np
import PIL

from nightreel.errors import NightreelError, PermanentError, TransientError
from nightreel.media.confinement import CANNOT_CONFINE, Confined
from nightreel.media.decode_job import DecodeJob
from nightreel.media.decoding import Decoded, decode
from nightreel.media.demuxing import is_memory_error
from nightreel.media.images import decode_image
from nightreel.media.inspection import probe_file
from nightreel.media.media_file import MediaFile
from nightreel.media.preview_plan import ShownFrame
from nightreel.media.probe import MediaLimits
from nightreel.media.transport import ConnectionLostError, receive, send
from nightreel.media.webm import encode_webm
from nightreel.reasons import Reason

_MOST_TEXT_BYTES = 64 * 2**20  # a job with all its packets
_MOST_DETAIL_CHARACTERS = 4000
_MOST_BYTES_A_PIXEL = 8  # in a decoded picture: 4 components of 16 bits

decord.logging.set_level(decord.logging.ERROR)
# A confined process cannot open the modules that libraries import when they are first needed.
for _name in ("numpy.ma", *(module.name for module in pkgutil.walk_packages(av.__path__, "av."))):
    if _name not in ("av.__main__", "av.datasets"):
        importlib.import_module(_name)


def report_confinement(connection: socket.socket, confine: Callable[..., Confined]) -> None:
    """Confine this process, with this file of the program as its file, and send what confines it."""
    with Path(__file__).open("rb") as file:
        confined = confine(file.fileno(), __file__, memory_bytes=2**40)
    send(connection, confined.found.to_json())


def answer_requests(connection: socket.socket, confine: Callable[..., Confined]) -> None:
    """Confine this process as the first request says, then answer all requests about its file.

    The first request comes with the descriptor of the file; a request to decode with that of the memory for frames.
    """
    if (first := _next_request(connection)) is None:
        return
    request, (fd, *frames_fds) = first
    confined = confine(fd, request["path"], memory_bytes=request["memory_mib"] << 20)
    if confined.found.to_json() != request["confinement"]:
        os._exit(CANNOT_CONFINE)
    file = MediaFile(fd, request["name"], confined.path)
    while True:
        reply, blob = _reply(request, file, confined, *frames_fds)
        for frames_fd in frames_fds:
            os.close(frames_fd)
        send(connection, reply, blob=blob)
        if (following := _next_request(connection)) is None:
            return
        request, frames_fds = following


def _next_request(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """A request and its descriptors; None if the pool has closed the connection."""
    try:
        message = receive(connection, most_text_bytes=_MOST_TEXT_BYTES, most_fds=2)
    except ConnectionLostError:
        return None
    return json.loads(message.text), list(message.fds)


def _reply(
    request: dict[str, Any], file: MediaFile, confined: Confined, *frames_fds: int
) -> tuple[dict[str, Any], bytes]:
    try:
        return _answer(request, file, confined, *frames_fds)
    except NightreelError as error:
        return _error(_named(file, error)), b""
    except Exception as error:  # noqa: BLE001  any error that a hostile file provokes is that file's error
        return _error(_explain(request, file, confined, error)), b""


def _decode(file: MediaFile, job: DecodeJob, frames_thwc: np.ndarray, confined: Confined) -> Decoded:
    """Decode, and distinguish damage from lack of memory: some decoders report a failed allocation as "no frame".

    Raises:
        MemoryError: a picture is missing or damaged, and the address space had no room for another picture.
    """
    damage: PermanentError | None = None
    try:
        decoded = decode(file, job, frames_thwc)
        if not any(decoded.flags):
            return decoded
    except PermanentError as error:
        damage = error
    if confined.least_address_space_left_bytes() < job.source_pixels * _MOST_BYTES_A_PIXEL:
        raise MemoryError
    if damage:
        raise damage
    return decoded


def _named(file: MediaFile, error: NightreelError) -> NightreelError:
    """The error with the name of the file in front, if its message has no name."""
    return error if file.name in error.detail else type(error)(error.reason, f"{file.name}: {error.detail}")


def _explain(request: dict[str, Any], file: MediaFile, confined: Confined, error: Exception) -> NightreelError:
    """The error for a person. ffmpeg's errors are errors of the operating system only by their class."""
    of_ffmpeg = isinstance(error, av.error.FFmpegError)
    if is_memory_error(error):
        if of_ffmpeg and confined.least_address_space_left_bytes() > _most_bytes_at_once(request, file):
            detail = "is damaged: a number in it makes ffmpeg ask for more memory than a valid file needs"
            return PermanentError(Reason.UNREADABLE, f"{file.name} {detail}: repeat the upload, or repair the file")
        limit = request["memory_mib"]
        return PermanentError(
            Reason.DECODE_MEMORY, f"{file.name} needs more memory than NIGHTREEL_DECODE_MEMORY_MIB={limit} allows"
        )
    if isinstance(error, OSError) and not of_ffmpeg:
        cause = error.strerror or type(error).__name__
        return TransientError(
            Reason.FILE_UNREADABLE, f"{file.name} cannot be read from the disk ({cause}): check the disk"
        )
    return PermanentError(
        Reason.DECODER_FAILED,
        f"{file.name}: decoding failed with an unexpected error ({type(error).__name__}: {error}): report this message",
    )


def _most_bytes_at_once(request: dict[str, Any], file: MediaFile) -> int:
    """The largest piece of memory that a valid file may need: one picture, or one packet."""
    max_pixels = request["job" if "job" in request else "limits"]["max_pixels"]
    return int(max_pixels) * _MOST_BYTES_A_PIXEL + file.size_bytes


def _error(error: NightreelError) -> dict[str, Any]:
    return {"error_reason": error.reason, "detail": error.detail[:_MOST_DETAIL_CHARACTERS]}


def _answer(
    request: dict[str, Any], file: MediaFile, confined: Confined, frames_fd: int | None = None
) -> tuple[dict[str, Any], bytes]:
    match request["op"]:
        case "probe":
            probe = probe_file(file, MediaLimits(**request["limits"]))
            return probe.to_message(), probe.index.to_bytes()
        case "image":
            picture, source_hw = decode_image(file, MediaLimits(**request["limits"]), short_side=request["short_side"])
            said = {"hw": picture.shape[:2], "source_hw": source_hw, "version": PIL.__version__}
            return said, picture.tobytes()
        case "decode":
            assert frames_fd is not None
            job = DecodeJob.from_json(request["job"])
            shared = mmap.mmap(frames_fd, int(np.prod(job.shape)))
            decoded = _decode(file, job, np.frombuffer(shared, np.uint8).reshape(job.shape), confined)
            return asdict(decoded), b""
        case "preview":
            job = DecodeJob.from_json(request["job"])
            frames_thwc = np.zeros(job.shape, np.uint8)
            decoded = _decode(file, job, frames_thwc, confined)
            shown = [ShownFrame(*one) for one in request["shown"]]
            return asdict(decoded), encode_webm(frames_thwc, shown, request["end_ms"])
    raise AssertionError(f"{request['op'] = }")
