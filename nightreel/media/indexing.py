"""Make the packet index of a stream from two readings: its packets, and the decoder's own first frames.

Where they agree, each frame is known by its packet. Where they do not, or where packets cannot tell the order of
frames, the decoder reads the whole stream once and its order counts. Called by `inspection`, in the sandbox.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from nightreel.errors import PermanentError
from nightreel.media.bitstream import BitstreamReader
from nightreel.media.decoder_order import Head, is_intra_only, read_head, read_order
from nightreel.media.demuxing import Log, clock_may_jump, demuxer_errors, is_avi, is_mp4, packets_of
from nightreel.media.media_file import MediaFile
from nightreel.media.packets import (
    CORRUPT,
    DISCARD,
    FALSE_KEY,
    GAP,
    HIDDEN,
    KEY,
    LOST_BEFORE,
    MISSING_PTS,
    NO_PTS,
    SECOND_FIELD,
    UNREFERENCED,
    PacketIndex,
)
from nightreel.media.timeline import ClockBreak, continuous_ticks, even_ticks, last_duration
from nightreel.reasons import Reason

_NO_FRAME = DISCARD | HIDDEN | SECOND_FIELD
# AVI stores no presentation times. For these codings only decoding reveals the order of pictures.
_REORDERED_IN_AVI = frozenset({"h264", "hevc"})
_REGULAR = 0.1  # of the usual step: packets at such a step follow each other, whatever the demuxer complains about
_REACH_OF_A_FAILURE = 16  # packets: a decoder holds back no more pictures
_USUAL_FPS = 25
_HELD_BACK = 3  # packets: a demuxer notices a loss or a joint while it still holds back the packets before it


@dataclass(frozen=True)
class StreamIndex:
    """The index of a stream, and what was seen while it was made.

    Args:
        truncated: reading ended with a demuxer error, or before the promised number of packets.
        breaks: where the file's clock breaks.
        assumed_clock: the file has no clock: times come from its frame rate.
        proven_starts: as in `Probe`.
        head: the decoder's first frames.
    """

    index: PacketIndex
    truncated: bool
    breaks: tuple[ClockBreak, ...]
    assumed_clock: bool
    proven_starts: bool
    head: Head


def index_stream(
    file: MediaFile, container: InputContainer, stream: VideoStream, said: Log, *, max_frames: int, max_pixels: int
) -> StreamIndex:
    """Read all packets of `stream` from the container's current position, which is its start.

    Stops silently at a read error: the file holds only the packets before it.

    Raises:
        PermanentError: `limit_frames`.
    """
    table = _read_packets(file, container, stream, said, max_frames=max_frames)
    truncated = demuxer_errors(said, container) or (is_mp4(container) and len(table.pts) < stream.frames)
    if not len(table.pts):
        empty = PacketIndex(table.pts, table.dts, table.pts, table.size, table.flags, 0, False)
        return StreamIndex(empty, truncated, (), False, False, Head(None, (), False, []))
    starts = np.flatnonzero(table.flags & KEY)
    head = read_head(file, stream.index, max_pixels=max_pixels, first_start=int(starts[0]) if len(starts) else 0)
    if any(label is not None and label >= len(table.pts) for label in head.labels):
        head = replace(head, labels=(None,))  # the second reading gave more packets: it proves nothing
    proven_starts = _confirm_starts(table, stream, head)
    ticks_per_s = float(1 / stream.time_base) if stream.time_base else 1000.0
    ticks, breaks = continuous_ticks(
        table.pts,
        table.dts,
        table.flags & KEY != 0,
        table.flags & _NO_FRAME == 0,
        ticks_per_s=ticks_per_s,
        may_jump=clock_may_jump(container),
    )
    _place_losses(table, container)
    _clear_joints(table, breaks)
    _hide_lead_in(table, ticks, head)
    assumed = bool((ticks == NO_PTS).all())
    interval = round(ticks_per_s / float(stream.average_rate or stream.guessed_rate or _USUAL_FPS))
    index = PacketIndex(table.pts, table.dts, ticks, table.size, table.flags, 0, False)
    if is_intra_only(stream) and not _complete(index):
        index = _reordered(index, index.shown.tolist(), interval=interval)
    elif _in_doubt(index, container, stream, head) or table.packed:
        index = _as_decoded(index, *read_order(file, stream.index, max_pixels=max_pixels), interval=interval)
    fields = bool((index.flags & SECOND_FIELD).any())
    claimed = (
        0 if fields or not len(index.shown) else int(table.duration[index.shown[np.argmax(index.ticks[index.shown])]])
    )
    last = last_duration(claimed, interval=index.interval or interval, ticks_per_s=ticks_per_s)
    return StreamIndex(replace(index, last_duration=last), truncated, breaks, assumed, proven_starts, head)


@dataclass(frozen=True, eq=False)
class _Table:
    """Packets as read, in decoding order: arrays as in `PacketIndex`.

    Args:
        doubtful: the packet itself, or its time, is unreliable.
        packed: some packet holds two pictures.
    """

    pts: np.ndarray
    dts: np.ndarray
    size: np.ndarray
    flags: np.ndarray
    duration: np.ndarray
    doubtful: np.ndarray
    packed: bool


def _read_packets(
    file: MediaFile, container: InputContainer, stream: VideoStream, said: Log, *, max_frames: int
) -> _Table:
    reader = BitstreamReader(stream.codec_context.codec.canonical_name, stream.codec_context.extradata)
    rows: list[tuple[int, int, int, int, int, bool]] = []
    packed = False
    for read in packets_of(container, stream, said):
        packet = read.packet
        if len(rows) >= max_frames:
            raise PermanentError(
                Reason.LIMIT_FRAMES,
                f"{file.name} has more than {max_frames} frames: raise NIGHTREEL_MAX_FRAMES to accept it",
            )
        about = reader.read(memoryview(packet), is_key=packet.is_keyframe)
        flags = (
            KEY * about.starts_clean
            | DISCARD * packet.is_discard
            | CORRUPT * (read.doubtful or not about.intact)
            | LOST_BEFORE * (read.doubtful or read.lost_before)
            | HIDDEN * (not about.shown)
            | MISSING_PTS * (packet.pts is None)
            | UNREFERENCED * about.unreferenced
            | FALSE_KEY * (packet.is_keyframe and not about.starts_clean)
            | SECOND_FIELD * about.second_field
        )
        pts, dts = (NO_PTS if time is None else time for time in (packet.pts, packet.dts))
        rows.append((pts, dts, packet.size, flags, packet.duration or 0, read.doubtful))
        packed |= about.packed
    columns = np.array(rows, dtype=np.int64).reshape(-1, 6).T
    return _Table(
        pts=columns[0].copy(),
        dts=columns[1].copy(),
        size=columns[2].astype(np.int32),
        flags=columns[3].astype(np.uint16),
        duration=columns[4].copy(),
        doubtful=columns[5].astype(bool),
        packed=packed,
    )


def _confirm_starts(table: _Table, stream: VideoStream, head: Head) -> bool:
    """Keep only the starts that more than the container says: the packet itself, the codec, or the decoder later on.

    Returns whether all that are kept are proven already.

    Old containers call every packet a keyframe. If neither this package nor the decoder can tell keyframes, only the
    start of the file is one.
    """
    codec = stream.codec_context.codec.canonical_name
    if codec in BitstreamReader.READS_STARTS:
        return True
    if is_intra_only(stream):
        table.flags[:] |= KEY
        return True
    if not head.names_keyframes:
        claimed = table.flags & KEY != 0
        claimed[0] = False
        table.flags[claimed] = (table.flags[claimed] & ~np.uint16(KEY)) | FALSE_KEY
    return False


def _place_losses(table: _Table, container: InputContainer) -> None:
    """Put the demuxer's complaints where packets are missing, and forget those where none is.

    A demuxer may complain while it still holds back packets from before the loss. Where packets follow each other at
    the usual step, nothing is lost, whatever it complains about.
    """
    if is_avi(container) or not (table.flags & LOST_BEFORE).any():
        return
    clock = np.where(table.dts != NO_PTS, table.dts, table.pts)
    steps = np.diff(clock, prepend=clock[:1])
    usual = float(np.median(steps[1:])) if len(steps) > 1 else 0.0
    regular = (np.abs(steps - usual) <= _REGULAR * usual) & (clock != NO_PTS)
    regular[0] = False
    for complaint in np.flatnonzero(table.flags & LOST_BEFORE).tolist():
        if not regular[complaint]:
            continue
        if not table.doubtful[complaint]:
            table.flags[complaint] &= ~np.uint16(LOST_BEFORE)
        later = np.flatnonzero(steps[complaint + 1 : complaint + 1 + _HELD_BACK] > GAP * usual)
        if len(later):
            table.flags[complaint + 1 + later[0]] |= LOST_BEFORE


def _clear_joints(table: _Table, breaks: tuple[ClockBreak, ...]) -> None:
    """Forget the demuxer's doubts about the packets around a place where two recordings are joined.

    The counters of a transport stream begin again there, which looks like a loss. If the last packet before the joint
    is cut off, the decoder says so.
    """
    for joint in breaks:
        table.flags[max(0, joint.position - _HELD_BACK) : joint.position + 1] &= ~np.uint16(CORRUPT | LOST_BEFORE)


def _hide_lead_in(table: _Table, ticks: np.ndarray, head: Head) -> None:
    """Hide the packets before the first start of a recording that begins inside a group of pictures: none decodes."""
    label = head.labels[0] if head.labels else None
    if label is None or ticks[label] == NO_PTS or (table.flags[:label] & KEY).any():
        return
    before = (ticks < ticks[label]) & (ticks != NO_PTS)
    if not before.any() and label:
        before[:label] = table.flags[:label] & _NO_FRAME == 0
    before[label] = False
    table.flags[before & (table.flags & SECOND_FIELD == 0)] |= HIDDEN


def _complete(index: PacketIndex) -> bool:
    """Whether each frame has a time of its own."""
    times = index.ticks[index.shown]
    return not (times == NO_PTS).any() and len(np.unique(times)) == len(times)


def _in_doubt(index: PacketIndex, container: InputContainer, stream: VideoStream, head: Head) -> bool:
    """Whether the packets do not tell the order of frames, or the decoder's first frames contradict them."""
    if not _complete(index) or not len(index.shown):
        return True
    codec = stream.codec_context.codec.canonical_name
    if is_avi(container):
        reordered = bool((index.flags & UNREFERENCED).any())
        harmed = bool((index.flags & (CORRUPT | LOST_BEFORE)).any()) or len(index) < stream.frames
        if codec in _REORDERED_IN_AVI or (reordered and harmed):  # the AVI demuxer counts packets to get times
            return True
    if stream.codec_context.has_b_frames and bool((index.pts == index.dts)[index.shown].all()) and len(index.shown) > 1:
        return True
    labels = [label for label in head.labels if label is not None]
    times = index.ticks[labels]
    return len(labels) < len(head.labels) or not np.isin(labels, index.shown).all() or bool((np.diff(times) <= 0).any())


def _as_decoded(index: PacketIndex, labels: list[int | None], failed: frozenset[int], *, interval: int) -> PacketIndex:
    """The index in the order of the decoder. Packets that gave no frame, and did not fail, are hidden."""
    out = [label for label in labels if label is not None and label < len(index)]
    if len(out) < len(labels) or len(set(out)) < len(out):
        return _counted(index, len(labels), interval=interval)
    order = _with_lost(out, index, failed)
    flags = index.flags.copy()
    flags[np.setdiff1d(index.shown, order)] |= HIDDEN
    flags[order] &= ~np.uint16(HIDDEN | SECOND_FIELD)
    return _reordered(replace(index, flags=flags), order, interval=interval)


def _with_lost(out: list[int], index: PacketIndex, failed: frozenset[int]) -> list[int]:
    """Insert packets that gave no frame because they, or a packet shortly before them, fail to decode."""
    if not failed:
        return out
    at_fault = np.array(sorted(failed))
    missing = set(index.shown.tolist()) - set(out)
    lost = {p for p in missing if np.any((at_fault <= p) & (at_fault > p - _REACH_OF_A_FAILURE))}
    places = {label: place for place, label in enumerate(out)}
    order, inserts, place = list(out), [], -1
    for p in range(len(index)):
        place = places.get(p, place)
        if p in lost:
            inserts.append((place, p))
    for place, p in sorted(inserts, reverse=True):
        order.insert(place + 1, p)
    return order


def _reordered(index: PacketIndex, order: list[int], *, interval: int) -> PacketIndex:
    """The index with ascending times for the packets of `order`."""
    ticks = index.ticks.copy()
    ticks[order] = even_ticks(ticks[order], interval=interval)
    if (ticks == NO_PTS).any():  # packets that are not shown
        known = ticks[ticks != NO_PTS]
        ticks[ticks == NO_PTS] = int(known.min()) if len(known) else 0
    return replace(index, ticks=ticks)


def _counted(index: PacketIndex, count: int, *, interval: int) -> PacketIndex:
    """The index of a stream in which only the number of a frame identifies it."""
    flags = index.flags.copy()
    flags[index.shown[count:]] |= HIDDEN
    counted = replace(index, flags=flags)
    return replace(_reordered(counted, counted.shown.tolist(), interval=interval), ordinal=True)
