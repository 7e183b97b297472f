"""The pool of killable decoder processes: the only way from the pipeline to untrusted media.

Called by the encode stage and the command line, from any thread. This side never opens a media file and never imports a
decoder. It sends a path, receives numbers, and reads the pixels from shared memory that it made itself (a memfd: it has
no name, so nothing remains, however either side dies).

A process that hangs, crashes or exceeds a limit costs one `PermanentError` and is replaced.
"""

from __future__ import annotations

import math
import mmap
import os
import queue
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from nightreel.domain import FrameBatch, SamplingPlan, Segment
from nightreel.errors import PermanentError, TransientError
from nightreel.media.coverage import covered_s
from nightreel.media.decode_job import DecodeJob, plan_job
from nightreel.media.fork_server import DecoderProcess, ForkServer
from nightreel.media.probe import MediaLimits, Probe
from nightreel.media.sampling import timestamps
from nightreel.media.transport import ConnectionLostError, DeadlineError
from nightreel.reasons import Reason
from nightreel.settings import Settings

_JOBS_PER_PROCESS = 500  # then the process is replaced, which bounds the decoders' leaks
_SENT_FROM_OUTSIDE = frozenset({signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT})


@contextmanager
def _as_answered(path: Path) -> Iterator[None]:
    """Parse a reply. A hostile file may control the process that sent it, so it may hold anything."""
    try:
        yield
    except (AssertionError, AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise PermanentError(
            Reason.DECODER_CRASHED, f"{path.name}: its decoder process sent an invalid reply"
        ) from error


class DecoderPool:
    """`workers` decoder processes, each started when first needed. Thread-safe: further calls wait for a free process.

    Args:
        limits: limits for a file.
        timeout_s: wall-clock limit of one call, from the moment a process is free for it.
        memory_bytes: address space of a decoder process.
        min_good_frames: a segment with a smaller share of good frames is refused.
    """

    def __init__(
        self,
        *,
        limits: MediaLimits,
        workers: int = 2,
        timeout_s: float = 120.0,
        memory_bytes: int = 2 * 2**30,
        min_good_frames: float = 0.75,
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
        """Inspect the file `path`.

        Raises:
            PermanentError: the file's own reason (`not_a_video`, `no_index`, `encrypted`, `limit_pixels` ...), or
                `decode_timeout`, `decoder_crashed`, `decode_memory`.
            TransientError: the file cannot be read, or no decoder process can be started.
        """
        request = {"op": "probe", "path": str(path.absolute()), "limits": asdict(self._limits)}
        reply, blob = self._call(request, path=path)
        with _as_answered(path):
            return Probe.from_message(reply["probe"], blob)

    def decode(
        self, path: Path, *, probe: Probe, plan: SamplingPlan, segment: Segment, short_side: int | None = None
    ) -> FrameBatch:
        """Decode the frames of `segment` that `plan` samples.

        Args:
            probe: the probe of the same file.
            short_side: scale the shorter side down to this many pixels; smaller pictures keep their size.

        Returns:
            1 to `plan.frames` frames, with `covered_s`; fewer than planned where several moments fall on one frame.

        Raises:
            PermanentError: `damaged` when too few frames are good, and the errors of `probe`.
            TransientError: as `probe`.
        """
        moments_s = timestamps(plan, segment, keyframes_s=probe.keyframes_s)
        batch, shown_s = self._decode(path, probe=probe, moments_s=moments_s, short_side=short_side)
        good, asked = batch.flags.count(()), len(batch.flags)
        if good < self._min_good_frames * asked:
            raise PermanentError(
                Reason.DAMAGED,
                f"{path.name}, {segment.start_s:g}-{segment.end_s:g} s: {good} of {asked} frames good, fewer than "
                f"NIGHTREEL_MIN_GOOD_FRAMES={self._min_good_frames:g} requires: repair the file, or lower the setting",
            )
        covered = covered_s(segment, shown_s=shown_s, good=[not flags for flags in batch.flags], lost=probe.lost)
        return replace(batch, covered_s=covered)

    def decode_moments(
        self, path: Path, *, probe: Probe, moments_s: Sequence[float], short_side: int | None = None
    ) -> FrameBatch:
        """Decode the frames shown at `moments_s`, seconds after the first frame, good or not: each once, in time order.

        Raises:
            As `decode`, but `damaged` only when no frame could be decoded.
        """
        return self._decode(path, probe=probe, moments_s=moments_s, short_side=short_side)[0]

    def _decode(
        self, path: Path, *, probe: Probe, moments_s: Sequence[float], short_side: int | None
    ) -> tuple[FrameBatch, list[float]]:
        """The frames, and when each of the wanted frames is shown, decoded or not."""
        job = plan_job(probe, moments_s, short_side=short_side, max_pixels=self._limits.max_pixels)
        shown_s = probe.frame_times_s[list(job.frames)].tolist()
        try:
            return self._run(path, probe, job), shown_s
        except PermanentError as error:
            if job.decoder != "decord" or error.reason not in (Reason.DECODER_CRASHED, Reason.DECODE_MEMORY):
                raise
        return self._run(path, probe, replace(job, decoder="pyav")), shown_s  # a fault of decord is not the file's

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
        """Stop all processes. Running calls fail with a TransientError. May be called twice."""
        self._closed = True
        self._server.close()
        idle: list[DecoderProcess | None] = []
        with suppress(queue.Empty):
            while True:
                idle.append(self._slots.get_nowait())
        for process in idle:
            if process is not None:
                process.end()
            self._slots.put(None)  # a call that waits for a slot must fail, not hang

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, request: dict[str, Any], *, path: Path, fd: int | None = None) -> tuple[dict[str, Any], bytes]:
        """Send one request to a free process. A process that does not reply is not used again."""
        worker = self._slots.get()
        kept = None
        try:
            if self._closed:
                raise TransientError(Reason.DECODER_POOL_CLOSED, f"{path.name} was not decoded: the pool is closed")
            worker = worker or self._server.spawn()
            reply, blob = worker.ask({**request, **self._allowed}, timeout_s=self._timeout_s, fd=fd)
            out_of_memory = reply.get("error", {}).get("reason") == Reason.DECODE_MEMORY
            used_up = out_of_memory or worker.jobs >= _JOBS_PER_PROCESS or self._closed
            kept = None if used_up else worker
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
            f"{path.name}: the decoder sent no reply within NIGHTREEL_DECODE_TIMEOUT_S={self._timeout_s:g}: the file "
            "hangs the decoder, or needs a higher setting",
        )

    def _ended(self, path: Path, exit_code: int | None) -> PermanentError | TransientError:
        """The error for a dead decoder process: the file's fault, or transient if a signal from outside killed it."""
        if exit_code == -signal.SIGXCPU:
            return self._too_slow(path)
        if self._closed or exit_code is None or -exit_code in _SENT_FROM_OUTSIDE:
            return TransientError(Reason.DECODER_KILLED, f"{path.name}: the decoder process was killed from outside")
        how = signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"
        return PermanentError(Reason.DECODER_CRASHED, f"{path.name} crashed the decoder process ({how})")
