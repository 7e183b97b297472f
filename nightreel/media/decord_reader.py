"""decord, as far as it can be trusted: few frames a call, one thread, dropped at once, disbelieved at any complaint.

Called by `decoding` for files whose probe found decord exact. decord replaces a damaged frame by a neighbour without a
word in its result; its ffmpeg, however, complains on standard error. So a reader is believed only if nothing at all was
written there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import decord
import numpy as np

from nightreel.media.decode_job import DecodeJob

VERSION: str = decord.__version__
_FRAMES_A_CALL = 16  # a reader holds a call's frames twice
_STDERR = 2


class DecordDoubtError(Exception):
    """What decord returned is not to be believed: decode again with PyAV, which says which frames are bad."""


def decode_with_decord(path: Path, job: DecodeJob, frames_thwc: np.ndarray) -> None:
    """Fill `frames_thwc` with the frames of `job`. Standard error is not this process's own meanwhile.

    Raises:
        DecordDoubtError: decord or its ffmpeg complained, or counts other frames than the packets do.
    """
    with _no_complaints():
        try:
            reader = decord.VideoReader(str(path), ctx=decord.cpu(0), width=job.width, height=job.height, num_threads=1)
            if len(reader) != job.frame_count:
                raise DecordDoubtError(f"{len(reader)} frames, {job.frame_count} by the packets")
            for at in range(0, len(job.frames), _FRAMES_A_CALL):
                numbers = list(job.frames[at : at + _FRAMES_A_CALL])
                frames_thwc[at : at + len(numbers)] = reader.get_batch(numbers).asnumpy()
            del reader  # idle, it decodes ahead without bound
        except (decord.DECORDError, RuntimeError) as error:
            raise DecordDoubtError(str(error)) from error


@contextmanager
def _no_complaints() -> Iterator[None]:
    """Listen to what C code writes to standard error.

    Raises:
        DecordDoubtError: at the end, if it wrote anything.
    """
    usual, heard = os.dup(_STDERR), os.memfd_create("complaints")
    os.dup2(heard, _STDERR)
    try:
        yield
        said = os.fstat(heard).st_size
    finally:
        os.dup2(usual, _STDERR)
        os.close(usual)
        os.close(heard)
    if said:
        raise DecordDoubtError(f"{said} bytes of complaints")
