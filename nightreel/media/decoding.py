"""Carry out a `DecodeJob`: decode its frames and flag the bad ones.

Runs in the sandbox; called by `decoder_process`. The sandbox, not this module, has the settings and limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from nightreel.errors import PermanentError
from nightreel.media.decode_job import DecodeJob, Run
from nightreel.media.decode_job import Packet as ExpectedPacket
from nightreel.media.decord_reader import VERSION as DECORD_VERSION
from nightreel.media.decord_reader import DecordDoubtError, decode_with_decord
from nightreel.media.demuxing import Log, Read, complaints, is_memory_error, limit_decoder, open_container, packets_of
from nightreel.media.pixels import PixelWriter
from nightreel.reasons import Reason

# A longer gap between runs is skipped by a seek instead of read. The packet after the gap is verified in both cases.
_SEEK_OVER_PACKETS = 256
# With skip_frame=NONREF, ffmpeg's decoders of these codecs skip exactly the pictures that no other picture refers to.
_SKIPS_UNREFERENCED = frozenset({"mpeg1video", "mpeg2video", "mpeg4", "vp8"})

# Logged where decoding starts in the middle of a stream and the stream drops a reference from before the start.
_HARMLESS = frozenset({"mmco: unref short failure"})


@dataclass(frozen=True)
class Decoded:
    """The result of a job, except the pictures, which are in the caller's array.

    Args:
        ticks: when each frame in the array is shown, in units of the time base; flags: of each frame, empty when good.
    """

    ticks: tuple[int, ...]
    flags: tuple[tuple[str, ...], ...]
    decoder: str
    version: str


class _IndexMismatchError(Exception):
    """The packets differ from the index: a seek landed elsewhere, or the demuxer returned other packets."""


def decode(path: Path, job: DecodeJob, frames_thwc: np.ndarray) -> Decoded:
    """Fill `frames_thwc` (T, height, width, 3) with the frames of `job`.

    Raises:
        PermanentError: `damaged` when no frame decodes; any error of `open_container`.
    """
    if job.decoder == "decord":
        try:
            decode_with_decord(path, job, frames_thwc)
        except DecordDoubtError:
            pass  # PyAV below finds the bad frames
        else:
            return Decoded(job.ticks, ((),) * len(job.ticks), "decord", DECORD_VERSION)
    frames = _WantedFrames(job, PixelWriter(frames_thwc, rotation=job.rotation, hdr=job.hdr))
    with complaints() as said:
        _decode_exactly(path, job, frames, said)
    ticks, flags = frames.close_gaps(frames_thwc, name=path.name)
    return Decoded(ticks, flags, "pyav", av.__version__ + " tone-mapped" * bool(job.hdr))


def _decode_exactly(path: Path, job: DecodeJob, frames: _WantedFrames, said: Log) -> None:
    """Decode by the plan; if a seek fails, without seeking; if the index does not match, from the start of the file."""
    if job.runs:
        for seek in (True, False):
            try:
                _decode_runs(path, job, frames, said, seek=seek)
            except _IndexMismatchError:
                frames.forget()
            else:
                return
    _decode_sequentially(path, job, frames, said)


class _WantedFrames:
    """The wanted frames that are decoded so far."""

    def __init__(self, job: DecodeJob, writer: PixelWriter) -> None:
        self._ticks, self._stale = job.ticks, job.stale
        self._slots = {key: slot for slot, key in enumerate(job.frames if job.ordinal else job.ticks)}
        self._writer = writer
        self._flags: dict[int, tuple[str, ...]] = {}

    def __contains__(self, key: int | None) -> bool:
        return key in self._slots

    @property
    def complete(self) -> bool:
        return len(self._flags) == len(self._slots)

    def take(self, key: int, frame: VideoFrame, *, corrupt: bool) -> None:
        self._writer.write(self._slots[key], frame)
        self._flags[self._slots[key]] = ("corrupt",) if corrupt else ()

    def forget(self) -> None:
        self._flags.clear()

    def close_gaps(self, frames_thwc: np.ndarray, *, name: str) -> tuple[tuple[int, ...], tuple[tuple[str, ...], ...]]:
        """Replace each frame that did not decode by the nearest one that did, with that one's time, flagged `missing`.

        Raises:
            PermanentError: `damaged` when no frame decoded.
        """
        if not self._flags:
            frames = len(self._ticks)
            raise PermanentError(
                Reason.DAMAGED, f"{name}: none of the {frames} sampled frames decodes: repair the file"
            )
        came_out = np.array(sorted(self._flags))
        ticks, flags = list(self._ticks), []
        for slot in range(len(ticks)):
            if slot in self._flags:
                flags.append(self._flags[slot] or ("missing",) * self._stale[slot])
                continue
            nearest = int(came_out[np.argmin(np.abs(came_out - slot))])
            frames_thwc[slot] = frames_thwc[nearest]
            ticks[slot] = self._ticks[nearest]
            flags.append(("missing",))
        return tuple(ticks), tuple(flags)


class _Damage:
    """Stretches of packets, in decoding order, whose pictures an error damages.

    A stretch lasts from the failed packet to the next packet where decoding can start, and beyond it for pictures that
    are shown before that packet's picture.
    """

    def __init__(self) -> None:
        self._began: int | None = None
        self._over: list[tuple[int, int, int]] = []
        self._alone: set[int] = set()

    def begin(self, position: int, *, alone: bool) -> None:
        """Record that the packet at `position` failed; `alone` if no other picture is predicted from it."""
        if alone:
            self._alone.add(position)
        elif self._began is None:
            self._began = position

    def end(self, position: int, pts: int) -> None:
        if self._began is not None:
            self._over.append((self._began, position, pts))
            self._began = None

    def spoils(self, position: int, pts: int) -> bool:
        if position in self._alone or (self._began is not None and position >= self._began):
            return True
        return any(began <= position and (position < end or pts < end_pts) for began, end, end_pts in self._over)


class _Feeder:
    """Feeds packets to one single-threaded decoder, so an error belongs to the last packet fed."""

    def __init__(self, context: VideoCodecContext, said: Log) -> None:
        self._context, self._said = context, said
        self._skips = context.codec.canonical_name in _SKIPS_UNREFERENCED

    def feed(self, packet: Packet[Any] | None, *, needed: bool = True) -> tuple[list[VideoFrame], bool]:
        """Feed a packet; return the decoded frames and whether an error occurred. None drains the decoder.

        Args:
            needed: False lets the decoder skip the picture if no other picture refers to it.
        """
        if self._skips:
            self._context.skip_frame = "DEFAULT" if needed else "NONREF"
        self._said.clear()
        try:
            decoded = self._context.decode(packet)
            return decoded, any(message.strip() not in _HARMLESS for _, _, message in self._said)
        except av.error.EOFError:
            return [], False
        except av.error.FFmpegError as error:
            if is_memory_error(error):
                raise
            return [], True


def _decode_runs(path: Path, job: DecodeJob, frames: _WantedFrames, said: Log, *, seek: bool) -> None:
    with open_container(path, max_pixels=job.max_pixels) as container:
        stream = _open_stream(container, job)
        feeder = _Feeder(stream.codec_context, said)
        packets, read, taken = packets_of(container, stream, said), 0, 0
        for run in job.runs:
            expected = job.packets[taken : taken + run.last - run.first + 1]
            taken += len(expected)
            if seek and run.first - read > _SEEK_OVER_PACKETS:
                packets = _seek(container, stream, expected[0], said)
            else:
                stream.codec_context.flush_buffers()
            found = _find(packets, expected[0])
            _decode_run(feeder, chain([found], packets), run, expected, frames)
            read = run.last + 1


def _decode_run(
    feeder: _Feeder,
    packets: Iterator[Read],
    run: Run,
    expected: tuple[ExpectedPacket, ...],
    frames: _WantedFrames,
) -> None:
    damage = _Damage()
    positions = {packet.pts: position for position, packet in enumerate(expected)}

    def collect(decoded: list[VideoFrame]) -> None:
        for frame in decoded:
            if frame.pts is not None and frame.pts in frames and frame.pts in positions:
                spoiled = damage.spoils(positions[frame.pts], frame.pts)
                frames.take(frame.pts, frame, corrupt=spoiled or frame.is_corrupt)

    for position, known in enumerate(expected):
        read = next(packets, None)
        if read is None or not _is(read.packet, known):
            raise _IndexMismatchError
        if known.is_start:
            damage.end(position, known.pts)
        elif known.lost_before:
            damage.begin(position, alone=False)
        is_wanted = known.pts in frames
        if (position and known.pts < run.skip_before) or (known.is_spare and not is_wanted):
            continue
        decoded, failed = feeder.feed(read.packet, needed=is_wanted)
        if failed or known.is_damaged:
            damage.begin(position, alone=known.is_spare)
        collect(decoded)
    collect(feeder.feed(None)[0])


def _decode_sequentially(path: Path, job: DecodeJob, frames: _WantedFrames, said: Log) -> None:
    """Decode from the start until all wanted frames are decoded.

    Where packets have no reliable times, frames are identified by counting. After an error the count is unreliable, so
    all later frames are flagged.
    """
    with open_container(path, max_pixels=job.max_pixels) as container:
        stream = _open_stream(container, job)
        feeder, count, damaged = _Feeder(stream.codec_context, said), 0, False
        for read in chain(packets_of(container, stream, said), [None]):
            if read is not None:
                damaged |= read.lost_before or read.doubtful
            decoded, failed = feeder.feed(read.packet if read else None)
            damaged |= failed
            for frame in decoded:
                key = count if job.ordinal else frame.pts
                count += 1
                if key is not None and key in frames:
                    frames.take(key, frame, corrupt=damaged or frame.is_corrupt)
            if frames.complete:
                return


def _open_stream(container: InputContainer, job: DecodeJob) -> VideoStream:
    video = cast(VideoStream, container.streams[job.stream_index])
    limit_decoder(video.codec_context, max_pixels=job.max_pixels)
    return video


def _seek(container: InputContainer, stream: VideoStream, expected: ExpectedPacket, said: Log) -> Iterator[Read]:
    """Seek to somewhere before the expected packet and return the packets from there.

    Raises:
        _IndexMismatchError: the container does not support seeking.
    """
    try:
        container.seek(expected.pts, stream=stream)
    except av.error.FFmpegError as error:
        if is_memory_error(error):
            raise
        raise _IndexMismatchError from error
    return packets_of(container, stream, said)


def _find(packets: Iterator[Read], expected: ExpectedPacket) -> Read:
    """Read up to the expected packet.

    Raises:
        _IndexMismatchError: the packet was before this position, or does not exist.
    """
    for read in packets:
        if _is(read.packet, expected):
            return read
        if read.packet.is_keyframe and read.packet.pts is not None and read.packet.pts > expected.pts:
            break
    raise _IndexMismatchError


def _is(packet: Packet[Any], known: ExpectedPacket) -> bool:
    return packet.pts == known.pts and packet.size == known.size
