"""How much of its timeline a file should hold, and how much of that can be read.

Packets count; a header is a claim. Called by `inspection`, in the sandbox.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from nightreel.media.demuxing import clock_may_jump, is_mp4
from nightreel.media.packets import LOST_BEFORE, PacketIndex

_AGREES = 2.0  # a claimed duration counts if the bytes it would take differ from those there by no larger factor
_STALE = 1.5  # usual intervals: a longer step over lost packets is a gap
_MOST_LOST_SPANS = 10_000
_EBML_SEGMENT = b"\x18\x53\x80\x67"
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_HEAD_BYTES = 64 * 1024


def expected_s(
    path: Path, container: InputContainer, stream: VideoStream, index: PacketIndex, *, duration_s: float
) -> float:
    """Seconds of timeline that the file should hold; at least `duration_s`, those that can be read.

    An MP4's own index of all frames counts. Else a duration in the header counts, if the bytes that it would take, at
    the rate of the bytes that were read, agree with the size of the file, or with the size that its container states.
    """
    tick_s, size = float(stream.time_base or 0), path.stat().st_size
    stated = _stated_size(path) or size
    cut_off = stated > size
    claims = [duration_s]
    entries = stream.index_entries
    if is_mp4(container) and len(entries) > len(index):
        claims.append((max(entry.timestamp for entry in list(entries)[-2:]) - int(index.dts[0])) * tick_s)
    claimed_s = 0.0 if _only_estimates(container) else (stream.duration or 0) * tick_s
    if (
        not _only_estimates(container) and not claimed_s and (cut_off or len(container.streams) == 1)
    ):  # else it may be the duration of the sound
        claimed_s = (container.duration or 0) / av.time_base
    claimed_s = max(claimed_s, (stream.frames or 0) * index.interval * tick_s)
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


def _only_estimates(container: InputContainer) -> bool:
    """Whether the container has no header with a duration: ffmpeg then subtracts the first clock from the last."""
    return clock_may_jump(container) and "flv" not in container.format.name


def lost_spans(index: PacketIndex, *, tick_s: float) -> tuple[tuple[float, float], ...]:
    """Spans of the timeline, in seconds after the first frame, in which no packet could be read."""
    times = index.timeline
    if index.ordinal or len(times) < 2:
        return ()
    lost = index.flags[index.positions[1:]] & LOST_BEFORE != 0
    gaps = np.flatnonzero(lost & (np.diff(times) > _STALE * index.interval))[:_MOST_LOST_SPANS]
    begin, end = times[gaps] + index.interval - index.start, times[gaps + 1] - index.start
    return tuple(zip((begin * tick_s).tolist(), (end * tick_s).tolist(), strict=True))


def _stated_size(path: Path) -> int | None:
    """The size that the file's own outermost structure states (RIFF, Matroska segment, ASF); None where it has none."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[:4] == b"RIFF":
        return int.from_bytes(head[4:8], "little") + 8
    at = head.find(_EBML_SEGMENT)
    if head[:4] == b"\x1a\x45\xdf\xa3" and 0 < at < len(head) - 12:
        first = head[at + 4]
        length = 9 - first.bit_length()
        if length <= 8:
            size = int.from_bytes(head[at + 4 : at + 4 + length], "big") & ((1 << (7 * length)) - 1)
            unknown = size == (1 << (7 * length)) - 1
            return None if unknown else at + 4 + length + size
    at = head.find(_ASF_FILE_PROPERTIES)
    if 0 < at < len(head) - 48:
        return int.from_bytes(head[at + 40 : at + 48], "little") or None
    return None
