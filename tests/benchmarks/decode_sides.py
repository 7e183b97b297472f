"""The sides of the decode benchmark: each returns the numbers that the requested frames carry.

A side works as its users do: it opens the file and fetches the requested frames as RGB, in one process, on one thread.
A new process imports this module for each run; only the call is measured.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import av
import cv2
import decord
import imageio_ffmpeg
import numpy as np
from fixtures.clips import read_number

from nightreel.media.decode_job import plan_job
from nightreel.media.decoding import decode
from nightreel.media.inspection import probe_file
from nightreel.media.media_file import MediaFile
from nightreel.media.probe import MediaLimits

FPS = 30
CODE_WIDTH, CODE_HEIGHT = 0.4, 0.4  # the share of the picture that carries the number
_LIMITS = MediaLimits(max_bytes=2**40, max_pixels=2**30, max_duration_s=1e6, max_streams=99, max_frames=10**7)


def ours(path: str, frames: list[int], short_side: int | None) -> list[int | None]:
    """Probe, plan and decode, as a decode process of the pool does."""
    with Path(path).open("rb") as opened:
        file = MediaFile(opened.fileno(), Path(path).name, path)
        probe = probe_file(file, _LIMITS)
        job = plan_job(probe, [(frame + 0.5) / FPS for frame in frames], short_side=short_side)
        frames_thwc = np.empty((len(job.frames), job.height, job.width, 3), np.uint8)
        decode(file, job, frames_thwc)
    return _numbers(frames_thwc)


def plain_decord(path: str, frames: list[int]) -> list[int | None]:
    """The obvious way: all frames in one `get_batch`, in full size."""
    return _numbers(decord.VideoReader(path, num_threads=1).get_batch(frames).asnumpy())


def resizing_decord(path: str, frames: list[int], width: int, height: int) -> list[int | None]:
    return _numbers(decord.VideoReader(path, num_threads=1, width=width, height=height).get_batch(frames).asnumpy())


def pyav_seeking(path: str, frames: list[int]) -> list[int | None]:
    """Seek before each frame, then decode up to it."""
    taken = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        assert stream.time_base is not None
        for number in frames:
            wanted = round(number / FPS / stream.time_base)
            container.seek(wanted, stream=stream)
            for frame in container.decode(stream):
                if frame.pts is not None and frame.pts >= wanted:
                    taken.append(frame.to_ndarray(format="rgb24"))
                    break
    return _numbers(np.stack(taken))


def pyav_sequential(path: str, frames: list[int]) -> list[int | None]:
    """Decode everything up to the last frame."""
    taken, wanted = [], set(frames)
    with av.open(path) as container:
        container.streams.video[0].thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                taken.append(frame.to_ndarray(format="rgb24"))
            if number == frames[-1]:
                break
    return _numbers(np.stack(taken))


def opencv(path: str, frames: list[int]) -> list[int | None]:
    """Set the position of each frame, then read it."""
    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    taken = []
    for number in frames:
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        done, frame = capture.read()
        assert done, number
        taken.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    return _numbers(np.stack(taken))


def ffmpeg(path: str, frames: list[int], width: int, height: int) -> list[int | None]:
    """One ffmpeg process with a `select` filter; raw pictures through a pipe."""
    select = "+".join(f"eq(n,{frame})" for frame in frames)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-threads", "1", "-filter_threads", "1",
               "-i", path, "-vf", f"select='{select}'", "-fps_mode", "passthrough", "-frames:v", str(len(frames)),
               "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]  # fmt: skip
    pictures = subprocess.run(command, capture_output=True, check=True).stdout
    return _numbers(np.frombuffer(pictures, np.uint8).reshape(-1, height, width, 3))


def _numbers(frames_thwc: np.ndarray) -> list[int | None]:
    height, width = frames_thwc.shape[1:3]
    corner = frames_thwc[:, : int(height * CODE_HEIGHT), : int(width * CODE_WIDTH)]
    return [read_number(frame) for frame in corner]
