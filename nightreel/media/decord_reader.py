"""Decode with decord, and trust it with a file only for what is proven of that file.

There are three proofs. decord gives every frame of the file the time that its packet has (`agrees_on_times`, once a
file). Each place that decord jumps to shows the picture that PyAV decodes there (once a run). And its ffmpeg writes no
error to standard error: decord silently replaces a damaged frame by a neighbour. Called by `inspection` and `decoding`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import decord
import numpy as np

from nightreel.media.decode_job import DecodeJob
from nightreel.media.media_file import MediaFile

VERSION: str = decord.__version__
_FRAMES_A_CALL = 16  # a reader holds a call's frames twice
_STDERR = 2
_SAME_TIME_S = 1e-3  # decord gives seconds as float32
_FLOAT32_DIGITS = 2**-22
_CELLS = 16  # pictures are compared as means of 16 x 16 cells
_SAME_PICTURE = 6.0  # levels of 255: two ffmpegs differ by 1 or 2 in rounding and chroma


class DecordDoubtError(Exception):
    """decord's result is not proven: decode again with PyAV, which identifies the bad frames."""


def agrees_on_times(file: MediaFile, frame_times_s: np.ndarray) -> bool:
    """Whether decord counts the same frames, and shows each at the same time after the first one.

    Args:
        frame_times_s: float64 (n,), from the packets.
    """
    try:
        with _no_complaints():
            reader = decord.VideoReader(file.path, ctx=decord.cpu(0), num_threads=1)
            count = len(reader)
            times_s = reader.get_frame_timestamp(np.arange(count))[:, 0].astype(np.float64) if count else np.empty(0)
            del reader
    except (DecordDoubtError, decord.DECORDError, RuntimeError):
        return False
    if count != len(frame_times_s):
        return False
    tolerance_s = np.maximum(_SAME_TIME_S, np.abs(times_s) * _FLOAT32_DIGITS)
    return bool((np.abs(times_s - times_s[0] - frame_times_s) <= tolerance_s).all())


def decode_with_decord(file: MediaFile, job: DecodeJob, frames_thwc: np.ndarray, *, landings_thwc: np.ndarray) -> None:
    """Fill `frames_thwc` with the frames of `job`.

    Args:
        landings_thwc: the first picture of each run of the job, decoded by PyAV.

    Raises:
        DecordDoubtError: decord or its ffmpeg reported an error, decord's frame count differs from the packets', or
            decord shows another picture where it should land.
    """
    landings = [run.frame for run in job.runs]
    if None in landings or len(landings) != len(landings_thwc):
        raise DecordDoubtError("a run begins with a hidden frame")
    expected = dict(zip(landings, landings_thwc, strict=True))
    slots = {number: slot for slot, number in enumerate(job.frames)}
    wanted = sorted({*job.frames, *(number for number in landings if number is not None)})
    with _no_complaints():
        try:
            reader = decord.VideoReader(file.path, ctx=decord.cpu(0), width=job.width, height=job.height, num_threads=1)
            if len(reader) != job.frame_count:
                raise DecordDoubtError(f"decord counts {len(reader)} frames, the packets {job.frame_count}")
            for at in range(0, len(wanted), _FRAMES_A_CALL):
                numbers = wanted[at : at + _FRAMES_A_CALL]
                for number, picture in zip(numbers, reader.get_batch(numbers).asnumpy(), strict=True):
                    if number in expected and not same_picture(picture, expected[number]):
                        raise DecordDoubtError(f"frame {number} is another picture")
                    if number in slots:
                        frames_thwc[slots[number]] = picture
            del reader  # an idle reader decodes ahead without limit
        except (decord.DECORDError, RuntimeError) as error:
            raise DecordDoubtError(str(error)) from error


def same_picture(one_hwc: np.ndarray, other_hwc: np.ndarray) -> bool:
    """Whether two uint8 pictures of one size show the same, decoded and scaled by two programs."""
    return bool(np.abs(_cells(one_hwc) - _cells(other_hwc)).max() <= _SAME_PICTURE)


def _cells(picture_hwc: np.ndarray) -> np.ndarray:
    """float64 (rows, columns, 3): means of up to 16 x 16 cells."""
    height, width = picture_hwc.shape[:2]
    rows = np.unique(np.linspace(0, height, min(_CELLS, height), endpoint=False).astype(int))
    columns = np.unique(np.linspace(0, width, min(_CELLS, width), endpoint=False).astype(int))
    sums = np.add.reduceat(np.add.reduceat(picture_hwc.astype(np.float64), rows, axis=0), columns, axis=1)
    areas = np.diff(np.append(rows, height))[:, None] * np.diff(np.append(columns, width))[None, :]
    return np.asarray(sums / areas[..., None])


@contextmanager
def _no_complaints() -> Iterator[None]:
    """Notice what C code writes to standard error, which is a file in a decoder process.

    Raises:
        DecordDoubtError: at the end, if it wrote anything.
    """
    before = os.fstat(_STDERR).st_size
    yield
    said = os.fstat(_STDERR).st_size - before
    if said:
        raise DecordDoubtError(f"{said} bytes of error messages")
