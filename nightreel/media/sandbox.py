"""The pool of decoder processes: the only way from the pipeline to untrusted media.

Called by the encode stage and the command line, from any thread. This side never reads a media file and never imports
a decoder. It opens the file, hands the descriptor to a new decoder process, checks every field of the reply, and reads
the pixels from shared memory that it made itself (a memfd: it has no name, so nothing remains, however either side
dies; sealed, so the other side cannot shrink it).

A process reads one file and no other, so a hostile file can falsify nothing but what is said of itself. It is kept
for further calls about its file, until the file is closed or another one needs its place. A process that hangs,
crashes, lies or exceeds a limit costs one `PermanentError`.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from nightreel.domain import FrameBatch, SamplingPlan, Segment
from nightreel.errors import PermanentError, SettingsError, TransientError
from nightreel.media import decoder_errors, replies
from nightreel.media.confinement import CANNOT_CONFINE, Confinement
from nightreel.media.coverage import covered_s
from nightreel.media.decode_job import DecodeJob, plan_job
from nightreel.media.decoder_slots import DecoderSlots
from nightreel.media.fork_server import Ending, ForkServer
from nightreel.media.media_file import MediaFile, file_id, opened
from nightreel.media.preview_plan import Range, plan_preview
from nightreel.media.probe import MediaLimits, Probe
from nightreel.media.sampling import timestamps
from nightreel.media.transport import ConnectionLostError, DeadlineError, Message
from nightreel.reasons import Reason
from nightreel.settings import Settings

# The limits of the process and its own faults end it with other signals.
_SENT_FROM_OUTSIDE = frozenset({signal.SIGTERM, signal.SIGKILL, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT})


class DecoderPool:
    """At most `workers` decoder processes at a time. Thread-safe: further calls wait.

    Args:
        limits: limits for a file.
        timeout_s: wall-clock limit of one call, from the moment its process starts.
        memory_bytes: address space of a decoder process.
        min_good_frames: a segment with a smaller share of good frames is refused.
        strict: refuse to decode on a host that lacks a part of the confinement.
    """

    def __init__(
        self,
        *,
        limits: MediaLimits,
        workers: int = 2,
        timeout_s: float = 120.0,
        memory_bytes: int = 2 * 2**30,
        min_good_frames: float = 0.75,
        strict: bool = False,
    ) -> None:
        self._limits = limits
        self._timeout_s = timeout_s
        self._memory_mib = memory_bytes // 2**20
        self._min_good_frames = min_good_frames
        self._strict = strict
        self._server = ForkServer()
        self._slots = DecoderSlots(self._server, workers=workers)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            limits=MediaLimits.from_settings(settings),
            workers=settings.decode_processes,
            timeout_s=settings.decode_timeout_s,
            memory_bytes=settings.decode_memory_mib * 2**20,
            min_good_frames=settings.min_good_frames,
            strict=settings.sandbox == "strict",
        )

    @property
    def confinement(self) -> Confinement:
        """What confines decoder processes on this host.

        Raises:
            SettingsError: it lacks a part, and `strict` is set.
            TransientError: no decoder process can be started.
        """
        found = self._server.confinement
        if self._strict and found.missing:
            raise SettingsError(
                f"NIGHTREEL_SANDBOX=strict, but decoder processes on this host lack {', '.join(found.missing)}: run on "
                "a host whose kernel and container allow them, or set NIGHTREEL_SANDBOX=available"
            )
        return found

    def probe(self, path: Path) -> Probe:
        """Inspect the file `path`.

        Raises:
            PermanentError: the file's own reason (`not_a_video`, `no_index`, `encrypted`, `limit_pixels` ...), or
                `decode_timeout`, `decoder_crashed`, `decoder_lied`, `decode_memory`.
            SettingsError: as `confinement`.
            TransientError: the file cannot be read, or no decoder process can be started.
        """
        with opened(path) as file:
            request = {"op": "probe", "limits": asdict(self._limits)}
            with self._answered(file):
                reply = self._call(request, file)
                return replies.parse_probe(
                    reply.text, reply.blob, limits=self._limits, size_bytes=file.size_bytes, name=file.name
                )

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

    def encode_preview(
        self, path: Path, *, probe: Probe, ranges: Sequence[Range], moments_s: Sequence[float] = ()
    ) -> bytes:
        """A small WebM without sound with these ranges of a video, on its clock. Damaged frames look as they decode.

        Args:
            probe: the probe of the same file. ranges, moments_s: as `plan_preview`.

        Raises:
            PermanentError: `no_encoder`, and as `decode_moments`.
            TransientError: as `probe`.
        """
        plan = plan_preview(probe, ranges, moments_s=moments_s, max_pixels=self._limits.max_pixels)
        with opened(path) as file, self._answered(file):
            reply = self._call({"op": "preview", **plan.to_json()}, file)
            return replies.parse_preview(reply.text, reply.blob, job=plan.job)

    def decode_image(self, path: Path, *, short_side: int | None = None) -> FrameBatch:
        """Decode a still image (JPEG, PNG or WebP): one frame at 0 s, upright, on white where it is transparent.

        Args:
            short_side: as in `decode`.

        Raises:
            PermanentError: `image_file` for another format and for several pictures, `damaged`, the errors of `probe`.
            TransientError: as `probe`.
        """
        request = {"op": "image", "limits": asdict(self._limits), "short_side": short_side}
        with opened(path) as file, self._answered(file):
            reply = self._call(request, file)
            image = replies.parse_image(reply.text, limits=self._limits, short_side=short_side, name=file.name)
            frames_thwc = replies.parse_pixels(reply.blob, image)
        return FrameBatch(
            frames_thwc=frames_thwc,
            pts_s=np.zeros(1),
            flags=((),),
            decoder="pillow",
            decoder_version=image.version,
            fps=1.0,
            source_hw=image.source_hw,
            covered_s=0.0,
        )

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
        size = math.prod(job.shape)
        fd = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, size)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            with opened(path) as file, self._answered(file):
                reply = replies.parse_decoded(
                    self._call({"op": "decode", "job": job.to_json()}, file, fd).text, job=job
                )
            frames_thwc = np.frombuffer(mmap.mmap(fd, size), np.uint8).reshape(job.shape)
        finally:
            os.close(fd)
        return FrameBatch(
            frames_thwc=frames_thwc,
            pts_s=(np.array(reply.ticks, dtype=np.int64) - probe.index.start) * probe.seconds_per_tick,
            flags=reply.flags,
            decoder=reply.decoder,
            decoder_version=reply.version,
            fps=probe.fps,
            source_hw=(probe.height, probe.width),
        )

    def close(self) -> None:
        """Stop all processes. Running calls fail with a TransientError. May be called twice."""
        self._slots.close()
        self._server.close()

    def close_file(self, path: Path) -> None:
        """End the idle processes of a file. They keep it open, so the disk space of a deleted file stays in use."""
        with suppress(OSError):
            self._slots.end_idle(file_id(path.stat()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _answered(self, file: MediaFile) -> Iterator[None]:
        """Turn an impossible reply into the file's error, and the claim of a failing disk into one if it is false."""
        try:
            yield
        except replies.LieError as error:
            raise decoder_errors.lied(file, str(error)) from None
        except PermanentError as error:
            if error.reason is Reason.FILE_UNREADABLE:
                raise decoder_errors.unless_readable(file, error) from None
            raise

    def _call(self, request: dict[str, Any], file: MediaFile, *shared: int) -> Message:
        """Send one request to a process of this file. Only a process that replies without an error is kept."""
        with self._slots.process_of(file) as process:
            confinement = self.confinement
            request |= {"memory_mib": self._memory_mib, "name": file.name, "path": file.path}
            try:
                message = process.ask(
                    {**request, "confinement": confinement.to_json()},
                    fds=[*([] if process.asked else [file.fd]), *shared],
                    most_text_bytes=replies.MOST_TEXT_BYTES,
                    most_blob_bytes=replies.most_blob_bytes(self._limits),
                    timeout_s=self._timeout_s,
                )
            except DeadlineError:
                raise decoder_errors.too_slow(file, self._timeout_s) from None
            except ConnectionLostError:
                raise self._ended(file, process.why_lost()) from None
            if replies.is_error(message.text):
                process.end()
            return message

    def _ended(self, file: MediaFile, ending: Ending) -> PermanentError | TransientError:
        """The error for a lost process: the file's fault, or transient if a signal from outside killed it."""
        code = ending.exit_code
        if code == CANNOT_CONFINE:
            return TransientError(
                Reason.DECODER_START, f"{file.name} was not decoded: its decoder process could not confine itself"
            )
        if self._slots.closed or code is None:
            return decoder_errors.killed(file, "with its fork server")
        if ending.killed:
            return decoder_errors.lied(file, "it broke off its reply")
        if -code in _SENT_FROM_OUTSIDE:
            return decoder_errors.killed(file, signal.Signals(-code).name)
        return decoder_errors.crashed(file, code)
