"""How much of its timeline a file should hold, and how much of that can be read.

Packets count; a header is a claim. Called by `inspection`, in the sandbox.
"""

from __future__ import annotations

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from nightreel.media import ebml
from nightreel.media.demuxing import clock_may_jump, is_mp4
from nightreel.media.media_file import MediaFile
from nightreel.media.packets import GAP, LOST_BEFORE, PacketIndex

_AGREES = 2.0  # a claimed duration counts if the bytes it would take differ from those there by no larger factor
_MOST_LOST_SPANS = 10_000
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_HEAD_BYTES = 64 * 1024


def expected_s(
    file: MediaFile, container: InputContainer, stream: VideoStream, index: PacketIndex, *, duration_s: float
) -> float:
    """Seconds of timeline that the file should hold; at least `duration_s`, those that can be read.

    An MP4's own index of all frames counts. Else a duration in the header counts, if the bytes that it would take, at
    the rate of the bytes that were read, agree with the size of the file, or with the size that its container states.
    """
    tick_s, size = float(stream.time_base or 0), file.size_bytes
    stated = _stated_size(file) or size
    cut_off = stated > size
    claims = [duration_s]
    entries = stream.index_entries
    if is_mp4(container) and len(entries) > len(index):
        claims.append((max(entry.timestamp for entry in list(entries)[-2:]) - int(index.dts[0])) * tick_s)
    claimed_s = max(
        _duration_in_header_s(container, stream, cut_off=cut_off), (stream.frames or 0) * index.interval * tick_s
    )
    # Without other streams, what is not packets is the header.
    header = size - int(index.size.sum(dtype=np.int64)) if len(container.streams) == 1 else 0
    held, promised = size - header, stated - header
    if claimed_s > duration_s > 0:
        needed = claimed_s / duration_s * held
        if any(have / _AGREES <= needed <= have * _AGREES for have in (held, promised)):
            claims.append(claimed_s)
    if cut_off and len(claims) == 1:
        claims.append(duration_s * promised / held)
    return max(claims)


def _duration_in_header_s(container: InputContainer, stream: VideoStream, *, cut_off: bool) -> float:
    """The duration that a header claims for the pictures; 0 where none does."""
    if clock_may_jump(container) and "flv" not in container.format.name:
        return 0.0  # there is no header: ffmpeg subtracts the first clock from the last
    if stream.duration:
        return float(stream.duration * (stream.time_base or 0))
    if cut_off or len(container.streams) == 1:  # else it may be the duration of the sound
        return (container.duration or 0) / av.time_base
    return 0.0


def lost_spans(index: PacketIndex, *, tick_s: float) -> tuple[tuple[float, float], ...]:
    """Spans of the timeline, in seconds after the first frame, in which no packet could be read."""
    times = index.timeline
    if index.ordinal or len(times) < 2:
        return ()
    lost = index.flags[index.positions[1:]] & LOST_BEFORE != 0
    gaps = np.flatnonzero(lost & (np.diff(times) > GAP * index.interval))[:_MOST_LOST_SPANS]
    begin, end = times[gaps] + index.interval - index.start, times[gaps + 1] - index.start
    return tuple(zip((begin * tick_s).tolist(), (end * tick_s).tolist(), strict=True))


def _stated_size(file: MediaFile) -> int | None:
    """The size that the file's own outermost structure states (RIFF, Matroska segment, ASF); None where it has none."""
    with file.open() as reader:
        head = reader.read(_HEAD_BYTES)
    if head[:4] == b"RIFF":
        return int.from_bytes(head[4:8], "little") + 8
    if head.startswith(ebml.MAGIC):
        return ebml.stated_size(head)
    at = head.find(_ASF_FILE_PROPERTIES)
    if 0 < at < len(head) - 48:
        return int.from_bytes(head[at + 40 : at + 48], "little") or None
    return None
