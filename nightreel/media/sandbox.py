"""The pool of killable decoder processes: the one door between the pipeline and untrusted media.

Called by the encode stage and the command line, from any thread. This side never opens a media file and never imports a
decoder: it sends a path, reads numbers back, and finds the pixels in shared memory that it made itself (a memfd: it has
no name, so nothing is left behind, however either side dies).

A process that hangs, crashes or passes a limit costs one `PermanentError` and is replaced.
"""

from __future__ import annotations

import math
import mmap
import os
import queue
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from nightreel.domain import FrameBatch, SamplingPlan, Segment
from nightreel.errors import PermanentError, TransientError
from nightreel.media.decode_job import DecodeJob, plan_job
from nightreel.media.fork_server import DecoderProcess, ForkServer
from nightreel.media.probe import MediaLimits, Probe
from nightreel.media.sampling import timestamps
from nightreel.media.transport import ConnectionLostError, DeadlineError
from nightreel.reasons import Reason
from nightreel.settings import Settings

_JOBS_PER_PROCESS = 500  # then it is replaced, so that what the decoders leak is bounded
_SENT_FROM_OUTSIDE = frozenset({signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT})


@contextmanager
def _as_answered(path: Path) -> Iterator[None]:
    """Take an answer apart. It comes from a process that a hostile file may have captured: it may hold anything."""
    try:
        yield
    except (AssertionError, AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise PermanentError(Reason.DECODER_CRASHED, f"{path.name}: its decoder process answered nonsense") from error


class DecoderPool:
    """`workers` decoder processes, started when first needed. Thread-safe: so many calls run at once, others wait.

    Args:
        limits: what a file may ask for.
        timeout_s: wall clock of one call, from the moment a process is free for it.
        memory_bytes: address space of a decoder process.
        min_good_frames: the share of undamaged frames below which a segment is refused.
    """

    def __init__(
        self,
        *,
        limits: MediaLimits,
        workers: int = 2,
        timeout_s: float = 120.0,
        memory_bytes: int = 2 * 2**30,
        min_good_frames: float = 0.9,
    ) -> None:
        self._limits = limits
        self._timeout_s = timeout_s
        self._allowed = {"cpu_s": timeout_s, "memory_mib": memory_bytes // 2**20}
        self._min_good_frames = min_good_frames
        self._server = ForkServer(memory_bytes=memory_bytes)
        self._slots: queue.LifoQueue[DecoderProcess | None] = queue.LifoQueue()
        for _ in range(workers):
            self._slots.put(None)
        self._closed = False

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            limits=MediaLimits.from_settings(settings),
            workers=settings.decode_workers,
            timeout_s=settings.decode_timeout_s,
            memory_bytes=settings.decode_memory_mib * 2**20,
            min_good_frames=settings.min_good_frames,
        )

    def probe(self, path: Path) -> Probe:
        """What `path` is.

        Raises:
            PermanentError: the file's own reason (`not_a_video`, `no_index`, `encrypted`, `limit_pixels` ...), or
                `decode_timeout`, `decoder_crashed`, `decode_memory`.
            TransientError: the file cannot be read at all, or no decoder process can be started.
        """
        request = {"op": "probe", "path": str(path.absolute()), "limits": asdict(self._limits)}
        reply, blob = self._call(request, path=path)
        with _as_answered(path):
            return Probe.from_message(reply["probe"], blob)

    def decode(
        self, path: Path, *, probe: Probe, plan: SamplingPlan, segment: Segment, short_side: int | None = None
    ) -> FrameBatch:
        """The frames of `segment` that `plan` looks at.

        Args:
            probe: of this very file.
            short_side: no more pixels than this are needed on the shorter side; smaller pictures are left as they are.

        Returns:
            1 to `plan.frames` frames; fewer than planned where several moments fall on the same frame.

        Raises:
            PermanentError: `damaged` where too few frames are good, and all that `probe` raises.
            TransientError: as `probe`.
        """
        moments_s = timestamps(plan, segment, keyframes_s=probe.keyframes_s)
        batch = self.decode_moments(path, probe=probe, moments_s=moments_s, short_side=short_side)
        good, asked = batch.flags.count(()), len(batch.flags)
        if good < self._min_good_frames * asked:
            raise PermanentError(
                Reason.DAMAGED,
                f"{path.name}, {segment.start_s:g}-{segment.end_s:g} s: {good} of {asked} frames good, fewer than "
                f"NIGHTREEL_MIN_GOOD_FRAMES={self._min_good_frames:g} asks for: repair the file, or lower the setting",
            )
        return batch

    def decode_moments(
        self, path: Path, *, probe: Probe, moments_s: Sequence[float], short_side: int | None = None
    ) -> FrameBatch:
        """The frames on show at `moments_s`, seconds after the first frame, good or not: each once, in order of time.

        Raises:
            As `decode`, but `damaged` only where not one frame could be decoded.
        """
        job = plan_job(probe, moments_s, short_side=short_side, max_pixels=self._limits.max_pixels)
        try:
            return self._run(path, probe, job)
        except PermanentError as error:
            if job.decoder != "decord" or error.reason not in (Reason.DECODER_CRASHED, Reason.DECODE_MEMORY):
                raise
        return self._run(path, probe, replace(job, decoder="pyav"))  # a fault of decord's is not the file's

    def _run(self, path: Path, probe: Probe, job: DecodeJob) -> FrameBatch:
        shape = (len(job.frames), job.height, job.width, 3)
        size = math.prod(shape)
        fd = os.memfd_create("frames", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            request = {"op": "decode", "path": str(path.absolute()), "job": job.to_json()}
            reply, _ = self._call(request, path=path, fd=fd)
            frames_thwc = np.frombuffer(mmap.mmap(fd, size), np.uint8).reshape(shape)
        finally:
            os.close(fd)
        with _as_answered(path):
            return FrameBatch(
                frames_thwc=frames_thwc,
                pts_s=(np.array(reply["ticks"], dtype=np.int64) - probe.index.start) * probe.seconds_per_tick,
                flags=tuple(tuple(map(str, words)) for words in reply["flags"]),
                decoder=str(reply["decoder"]),
                decoder_version=str(reply["version"]),
                fps=probe.fps,
                source_hw=(probe.height, probe.width),
            )

    def close(self) -> None:
        """End all processes. Calls still running fail with a TransientError. May be called twice."""
        self._closed = True
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, request: dict[str, Any], *, path: Path, fd: int | None = None) -> tuple[dict[str, Any], bytes]:
        """Put one request to a free process. Only one that has answered, whatever it answered, is used again."""
        worker = self._slots.get()
        kept = None
        try:
            if self._closed:
                raise TransientError(Reason.DECODER_POOL_CLOSED, f"{path.name} was not looked at: the pool is closed")
            worker = worker or self._server.spawn()
            reply, blob = worker.ask({**request, **self._allowed}, timeout_s=self._timeout_s, fd=fd)
            out_of_memory = reply.get("error", {}).get("reason") == Reason.DECODE_MEMORY
            kept = None if out_of_memory or worker.jobs >= _JOBS_PER_PROCESS else worker
        except DeadlineError:
            raise self._too_slow(path) from None
        except ConnectionLostError:
            raise self._ended(path, worker.end() if worker else None) from None
        finally:
            if worker is not None and kept is None:
                worker.end()
            self._slots.put(kept)
        if "error" in reply:
            with _as_answered(path):
                kind = TransientError if reply["error"]["transient"] else PermanentError
                error = kind(Reason.of(reply["error"]["reason"]), str(reply["error"]["detail"]))
            raise error
        return reply, blob

    def _too_slow(self, path: Path) -> PermanentError:
        return PermanentError(
            Reason.DECODE_TIMEOUT,
            f"{path.name}: no answer within NIGHTREEL_DECODE_TIMEOUT_S={self._timeout_s:g}: it hangs the decoder, or "
            "needs a higher setting",
        )

    def _ended(self, path: Path, exit_code: int | None) -> PermanentError | TransientError:
        """Whose fault the end of a decoder process is: the file's, or that of whoever sent it a signal."""
        if exit_code == -signal.SIGXCPU:
            return self._too_slow(path)
        if self._closed or exit_code is None or -exit_code in _SENT_FROM_OUTSIDE:
            return TransientError(Reason.DECODER_KILLED, f"{path.name}: the decoder process was ended from outside")
        how = signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"
        return PermanentError(Reason.DECODER_CRASHED, f"{path.name} crashed the decoder process ({how})")
