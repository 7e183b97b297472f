"""Carry out a `DecodeJob`: decode its frames and flag the bad ones.

Runs in the sandbox; called by `decoder_process`. The sandbox, not this module, has the settings and limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import chain, islice
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from nightreel.media.decode_job import DecodeJob, Run
from nightreel.media.decode_job import Packet as ExpectedPacket
from nightreel.media.decord_reader import VERSION as DECORD_VERSION
from nightreel.media.decord_reader import DecordDoubtError, decode_with_decord
from nightreel.media.demuxing import Log, Read, complaints, is_memory_error, open_container, packets_of
from nightreel.media.feeding import DoubtfulMessageError, Feeder
from nightreel.media.media_file import MediaFile
from nightreel.media.packets import NO_PTS
from nightreel.media.wanted_frames import WantedFrames

# A longer gap between runs is skipped by a seek instead of read. The packet after the gap is verified in both cases.
_SEEK_OVER_PACKETS = 256
_INTRA = frozenset({PictureType.I, PictureType.SI, PictureType.BI})


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


class _Attempt(IntEnum):
    """Ways to decode a job, from the fastest to the one that relies on least."""

    SEEK = 0  # the runs only, skipping what lies between by seeks
    READ = 1  # the runs only, reading past what lies between
    FROM_START = 2  # everything from the start of the file; a frame is known by its packet
    COUNT = 3  # everything from the start of the file; a frame is known by its number


class _ContradictionError(Exception):
    """The file contradicts the index.

    Args:
        fallback: the first way that does not rely on what is contradicted.
    """

    def __init__(self, fallback: _Attempt) -> None:
        self.fallback = fallback


def decode(file: MediaFile, job: DecodeJob, frames_thwc: np.ndarray) -> Decoded:
    """Fill `frames_thwc` (T, height, width, 3) with the frames of `job`.

    Raises:
        PermanentError: `damaged` when no frame decodes; any error of `open_container`.
    """
    if job.decoder == "decord" and file.path:
        try:
            decode_with_decord(file, job, frames_thwc, landings_thwc=_decode_landings(file, job))
        except DecordDoubtError:
            pass  # PyAV below finds the bad frames
        else:
            return Decoded(job.ticks, ((),) * len(job.ticks), "decord", DECORD_VERSION)
    frames = WantedFrames(job, frames_thwc)
    with complaints() as said:
        _decode_exactly(file, job, frames, said)
    ticks, flags = frames.close_gaps(frames_thwc, name=file.name)
    return Decoded(ticks, flags, "pyav", av.__version__ + " tone-mapped" * bool(job.hdr))


def _decode_landings(file: MediaFile, job: DecodeJob) -> np.ndarray:
    """uint8 (R, height, width, 3): the first picture of each run, decoded alone, to hold decord's seeks to.

    Raises:
        DecordDoubtError: one of them does not decode without a flag.
    """
    alone, taken = [], 0
    for run in job.runs:
        alone.append((replace(run, last=run.first), job.packets[taken]))
        taken += run.last - run.first + 1
    landings = replace(
        job,
        labels=tuple(run.first for run, _ in alone),
        frames=tuple(range(len(alone))),
        ticks=tuple(packet.tick for _, packet in alone),
        stale=(False,) * len(alone),
        runs=tuple(run for run, _ in alone),
        packets=tuple(packet for _, packet in alone),
    )
    landings_thwc = np.empty((len(alone), job.height, job.width, 3), np.uint8)
    frames = WantedFrames(landings, landings_thwc)
    with complaints() as said:
        _decode_exactly(file, landings, frames, said)
    if not frames.complete or any(frames.close_gaps(landings_thwc, name=file.name)[1]):
        raise DecordDoubtError("the first picture of a run is damaged")
    return landings_thwc


def _decode_exactly(file: MediaFile, job: DecodeJob, frames: WantedFrames, said: Log) -> None:
    """Decode by the plan; where the file contradicts the index, in a way that does not rely on it.

    The decoder gets packets as they are. If it complains about one, it gets all packets without the parts on which no
    picture depends: what it complains about then is damage.
    """
    strip = False
    attempt = _Attempt.SEEK if job.may_seek else _Attempt.READ
    if not job.runs:
        attempt = _Attempt.FROM_START if job.labels else _Attempt.COUNT
    while True:
        frames.forget()
        try:
            if attempt in (_Attempt.SEEK, _Attempt.READ):
                _decode_runs(file, job, frames, said, seek=attempt is _Attempt.SEEK, strip=strip)
            else:
                _decode_sequentially(file, job, frames, said, count=attempt is _Attempt.COUNT, strip=strip)
        except _ContradictionError as error:
            attempt = error.fallback if error.fallback > attempt else _Attempt.COUNT
        except DoubtfulMessageError:
            strip = True
        else:
            return


def _decode_runs(file: MediaFile, job: DecodeJob, frames: WantedFrames, said: Log, *, seek: bool, strip: bool) -> None:
    with open_container(file, max_pixels=job.max_pixels) as container:
        stream = cast(VideoStream, container.streams[job.stream_index])
        feeder = Feeder(stream, said, max_pixels=job.max_pixels, strip=strip)
        packets: Iterator[Read] = packets_of(container, stream, said)
        read, taken = 0, 0
        for run in job.runs:
            expected = job.packets[taken : taken + run.last - run.first + 1]
            taken += len(expected)
            if seek and run.first - read > _SEEK_OVER_PACKETS:
                packets = _seek(container, stream, expected[0], said)
                packets = chain([_find(packets, expected[0])], packets)
            else:
                packets = islice(packets, run.first - read, None)
            feeder.flush()
            _decode_run(feeder, packets, run, expected, frames, proven_start=job.proven_starts)
            read = run.last + 1


def _decode_run(
    feeder: Feeder,
    packets: Iterator[Read],
    run: Run,
    expected: tuple[ExpectedPacket, ...],
    frames: WantedFrames,
    *,
    proven_start: bool,
) -> None:
    """Decode one run, and hold it to the index: its packets, its start, and the order of its frames.

    Args:
        proven_start: the start is known from more than the container, so its picture may be missing only by damage.

    Raises:
        _ContradictionError: one of them differs.
    """
    seen_start = proven_start or run.first == 0 or run.frame is None
    failed = set[int]()
    latest = NO_PTS
    taken: list[tuple[int, int]] = []  # (slot, position in the run)

    def collect(decoded: list[tuple[int | None, VideoFrame]]) -> None:
        nonlocal latest, seen_start
        for label, frame in decoded:
            if label is None or not run.first <= label <= run.last:
                raise _ContradictionError(_Attempt.COUNT)
            known = expected[label - run.first]
            if known.tick <= latest and not failed:  # damage may disturb the order, and is flagged
                raise _ContradictionError(_Attempt.COUNT)
            if label == run.first:
                seen_start = True
                if run.first and frame.pict_type not in _INTRA:
                    raise _ContradictionError(_Attempt.FROM_START)
            latest = max(latest, known.tick)
            if frame.is_corrupt:
                failed.add(label - run.first)
            slot = frames.slot_of_label(label)
            if slot is not None:
                frames.take(slot, frame)
                taken.append((slot, label - run.first))

    for position, known in enumerate(expected):
        read = next(packets, None)
        if read is None or not _is(read.packet, known):
            raise _ContradictionError(_Attempt.READ)
        if known.lost_before and (position or not known.is_start):  # a start needs nothing from before it
            failed.add(position - known.is_start)
        is_wanted = frames.slot_of_label(known.owner) is not None
        if (position and known.tick < run.skip_before) or (known.is_spare and not is_wanted):
            continue
        fed = feeder.feed(read.packet, run.first + position, needed=is_wanted)
        if fed.failed or known.is_damaged:
            failed.add(position)
        collect(fed.frames)
    collect(feeder.feed(None).frames)
    if not seen_start:
        raise _ContradictionError(_Attempt.FROM_START)
    spoiled = _spoiled(expected, failed)
    for slot, position in taken:
        if position in spoiled:
            frames.flag(slot, "corrupt")


def _spoiled(expected: tuple[ExpectedPacket, ...], failed: set[int]) -> set[int]:
    """Positions of packets whose pictures failed packets damage.

    Damage lasts from a failed packet to the next packet where decoding can start, and beyond it for pictures that are
    shown before that packet's picture. A picture that no other one needs damages only itself.
    """
    spoiled, until = set(), 0
    for position in sorted(failed):
        spoiled.add(position)
        if expected[position].is_spare or position < until:
            continue
        until, shown_before = len(expected), None
        for later in range(position, len(expected)):
            if later > position and expected[later].is_start:
                if shown_before is not None:
                    break
                until, shown_before = later, expected[later].tick
            elif shown_before is None or expected[later].tick < shown_before:
                spoiled.add(later)
    return spoiled


def _decode_sequentially(
    file: MediaFile, job: DecodeJob, frames: WantedFrames, said: Log, *, count: bool, strip: bool
) -> None:
    """Decode from the start of the file until all wanted frames are decoded.

    After an error all later frames are flagged: they may depend on it, and a count is wrong after it.

    Args:
        count: identify frames by their number, not by their packet.
    """
    with open_container(file, max_pixels=job.max_pixels) as container:
        stream = cast(VideoStream, container.streams[job.stream_index])
        feeder, number, damaged = Feeder(stream, said, max_pixels=job.max_pixels, strip=strip), 0, False
        for position, read in enumerate(chain(packets_of(container, stream, said), [None])):
            if read is not None:
                damaged |= read.lost_before or read.doubtful
            fed = feeder.feed(read.packet if read else None, position)
            damaged |= fed.failed
            for label, frame in fed.frames:
                slot = frames.slot_of_number(number) if count else frames.slot_of_label(label)
                number += 1
                if slot is not None:
                    frames.take(slot, frame)
                    if damaged or frame.is_corrupt:
                        frames.flag(slot, "corrupt")
            if frames.complete:
                return


def _seek(container: InputContainer, stream: VideoStream, expected: ExpectedPacket, said: Log) -> Iterator[Read]:
    """Seek to somewhere before the expected packet and return the packets from there.

    Raises:
        _ContradictionError: the container does not support seeking.
    """
    try:
        container.seek(expected.pts, stream=stream)
    except av.error.FFmpegError as error:
        if is_memory_error(error):
            raise
        raise _ContradictionError(_Attempt.READ) from error
    return packets_of(container, stream, said)


def _find(packets: Iterator[Read], expected: ExpectedPacket) -> Read:
    """Read up to the expected packet.

    Raises:
        _ContradictionError: the packet was before this position, or does not exist.
    """
    for read in packets:
        if _is(read.packet, expected):
            return read
        if read.packet.is_keyframe and read.packet.pts is not None and read.packet.pts > expected.pts:
            break
    raise _ContradictionError(_Attempt.READ)


def _is(packet: Packet[Any], known: ExpectedPacket) -> bool:
    return (NO_PTS if packet.pts is None else packet.pts) == known.pts and packet.size == known.size
