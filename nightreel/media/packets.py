"""The packet index: every packet of one video stream in decoding order, without decoding any.

It records when each frame is shown, where decoding can start, and which packets are visibly damaged. `inspection`
builds it in the sandbox, `Probe` carries it, `decode_job` reads it. It holds only numbers: safe outside the sandbox.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

KEY = 1  # decoding can start here
DISCARD = 2  # outside the edit list: decoded, never shown
CORRUPT = 4  # damaged: the container marks it, or the lengths of its parts do not add up
HIDDEN = 8  # a reference picture that is never shown
MISSING_PTS = 16
UNREFERENCED = 32  # no other frame needs it
FALSE_KEY = 64  # the container marks it as a keyframe, but decoding cannot start clean here
LOST_BEFORE = 128  # packets before it, or part of it, could not be read
NO_PTS = np.iinfo(np.int64).min
_PACKET_BYTES = 8 + 8 + 4 + 1
_MOSTLY = 0.95


@dataclass(frozen=True, eq=False)
class PacketIndex:
    """Packets in decoding order.

    Args:
        pts: int64 (n,), presentation time in units of the stream's time base; NO_PTS where unknown.
        dts: int64 (n,), decoding time in the same units.
        size: int32 (n,), bytes.
        flags: uint8 (n,), the constants of this module.
        truncated: reading ended with a demuxer error, or before the promised number of packets.
        last_duration: duration of the last shown frame in units of the time base; 0 where unknown.
        ordinal: timestamps do not identify which packet becomes which frame (AVI with reordering, missing or repeated
            times). Frame k of the decoder's output is shown at the k-th timestamp, and only decoding from the very
            start is exact.
    """

    pts: np.ndarray = field(repr=False)
    dts: np.ndarray = field(repr=False)
    size: np.ndarray = field(repr=False)
    flags: np.ndarray = field(repr=False)
    last_duration: int
    ordinal: bool
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.pts)

    @cached_property
    def shown(self) -> np.ndarray:
        """int64 (k,): positions of packets that become frames."""
        return np.flatnonzero(self.flags & (DISCARD | HIDDEN) == 0)

    @cached_property
    def timeline(self) -> np.ndarray:
        """int64 (k,): when each frame is shown, ascending, in units of the time base."""
        if not self.ordinal:
            return np.sort(self.pts[self.shown])
        dts = self.dts[self.shown]
        times = np.sort(dts if (dts != NO_PTS).all() else self.pts[self.shown])
        if times[0] == NO_PTS:
            return np.arange(len(times), dtype=np.int64) * max(1, self.last_duration)
        return _evened(times)

    @cached_property
    def positions(self) -> np.ndarray:
        """int64 (k,): the packet of each frame of `timeline`. Invalid if `ordinal`."""
        return self.shown[np.argsort(self.pts[self.shown], kind="stable")]

    @cached_property
    def leading(self) -> np.ndarray:
        """bool (n,): shown before the last packet where decoding can start, so it depends on earlier packets."""
        starts = np.where(self.flags & KEY != 0, np.arange(len(self)), -1)
        last_start = np.maximum.accumulate(starts)
        return (last_start >= 0) & (self.pts < self.pts[last_start])

    @cached_property
    def start(self) -> int:
        return int(self.timeline[0])

    @cached_property
    def end(self) -> int:
        """When the last frame ends."""
        last = self.last_duration
        if last <= 0 and len(self.timeline) > 1:
            last = int(np.median(np.diff(self.timeline)))
        return int(self.timeline[-1]) + max(1, last)

    def to_bytes(self) -> bytes:
        """All arrays, one after another, little-endian."""
        return b"".join(array.tobytes() for array in (self.pts, self.dts, self.size, self.flags))

    @classmethod
    def from_bytes(cls, data: bytes, *, last_duration: int, ordinal: bool) -> PacketIndex:
        """The inverse of `to_bytes`.

        Raises:
            ValueError: `data` is not a whole number of packets.
        """
        count, rest = divmod(len(data), _PACKET_BYTES)
        if rest:
            raise ValueError(f"not a packet index: {len(data)} bytes, expected a multiple of {_PACKET_BYTES}")
        pts, dts, size, flags = (
            np.frombuffer(data, dtype, count, offset=offset * count)
            for dtype, offset in (("<i8", 0), ("<i8", 8), ("<i4", 16), ("u1", 20))
        )
        return cls(pts, dts, size, flags, last_duration, ordinal)


def _evened(times: np.ndarray) -> np.ndarray:
    """`times` at a constant interval, if all but a few are at one: a demuxer guessed those few wrong."""
    intervals = np.diff(times)
    if not len(intervals):
        return times
    usual = int(np.median(intervals))
    even = times[0] + np.arange(len(times), dtype=np.int64) * usual
    return even if abs(int(times[-1] - even[-1])) <= usual and np.mean(intervals == usual) > _MOSTLY else times
