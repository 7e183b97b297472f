"""Decode with decord: few frames a call, one thread, and no trust in the result after any error message.

Called by `decoding` for files whose probe found decord exact. decord silently replaces a damaged frame by a neighbour,
but its ffmpeg writes an error to standard error. So the frames are used only if nothing was written there.
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
    """decord's result is not reliable: decode again with PyAV, which identifies the bad frames."""


def decode_with_decord(path: Path, job: DecodeJob, frames_thwc: np.ndarray) -> None:
    """Fill `frames_thwc` with the frames of `job`. Redirects standard error meanwhile.

    Raises:
        DecordDoubtError: decord or its ffmpeg reported an error, or decord's frame count differs from the packets'.
    """
    with _no_complaints():
        try:
            reader = decord.VideoReader(str(path), ctx=decord.cpu(0), width=job.width, height=job.height, num_threads=1)
            if len(reader) != job.frame_count:
                raise DecordDoubtError(f"decord counts {len(reader)} frames, the packets {job.frame_count}")
            for at in range(0, len(job.frames), _FRAMES_A_CALL):
                numbers = list(job.frames[at : at + _FRAMES_A_CALL])
                frames_thwc[at : at + len(numbers)] = reader.get_batch(numbers).asnumpy()
            del reader  # an idle reader decodes ahead without limit
        except (decord.DECORDError, RuntimeError) as error:
            raise DecordDoubtError(str(error)) from error


@contextmanager
def _no_complaints() -> Iterator[None]:
    """Catch what C code writes to standard error.

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
        raise DecordDoubtError(f"{said} bytes of error messages")
