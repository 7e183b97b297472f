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
HIDDEN = 8  # no frame of its own: a reference picture that is never shown, or before the first picture that decodes
MISSING_PTS = 16
UNREFERENCED = 32  # no other frame needs it
FALSE_KEY = 64  # the container marks it as a keyframe, but decoding cannot start clean here
LOST_BEFORE = 128  # packets before it, or part of it, could not be read
SECOND_FIELD = 256  # the second field of the frame whose first field is the packet before it
ALL_FLAGS = 511
NO_PTS = np.iinfo(np.int64).min
GAP = 1.5  # usual intervals between frames: in a longer one, something is missing
_COLUMNS = (("pts", "<i8"), ("dts", "<i8"), ("ticks", "<i8"), ("size", "<i4"), ("flags", "<u2"))
PACKET_BYTES = sum(np.dtype(dtype).itemsize for _, dtype in _COLUMNS)


@dataclass(frozen=True, eq=False)
class PacketIndex:
    """Packets in decoding order. The position of a packet in it identifies the packet, and the frame that it holds.

    Args:
        pts: int64 (n,), presentation time in units of the stream's time base; NO_PTS where unknown.
        dts: int64 (n,), decoding time in the same units.
        ticks: int64 (n,), when the packet's frame is shown, in these units, on one continuous clock (see `timeline`).
        size: int32 (n,), bytes.
        flags: uint16 (n,), the constants of this module.
        last_duration: duration of the last shown frame in units of the time base; 0 where unknown.
        ordinal: it is not known which packet becomes which frame (a packet holds two pictures). Frame k of the
            decoder's output is shown at the k-th tick, and only decoding from the very start is exact.
    """

    pts: np.ndarray = field(repr=False)
    dts: np.ndarray = field(repr=False)
    ticks: np.ndarray = field(repr=False)
    size: np.ndarray = field(repr=False)
    flags: np.ndarray = field(repr=False)
    last_duration: int
    ordinal: bool

    def __len__(self) -> int:
        return len(self.pts)

    @cached_property
    def shown(self) -> np.ndarray:
        """int64 (k,): positions of packets that become frames."""
        return np.flatnonzero(self.flags & (DISCARD | HIDDEN | SECOND_FIELD) == 0)

    @cached_property
    def timeline(self) -> np.ndarray:
        """int64 (k,): when each frame is shown, ascending, in units of the time base."""
        return np.sort(self.ticks[self.shown])

    @cached_property
    def positions(self) -> np.ndarray:
        """int64 (k,): the packet of each frame of `timeline`. Invalid if `ordinal`."""
        return self.shown[np.argsort(self.ticks[self.shown], kind="stable")]

    @cached_property
    def owners(self) -> np.ndarray:
        """int64 (n,): the packet that identifies the frame to which each packet belongs: itself, or its first field."""
        return np.asarray(np.arange(len(self)) - (self.flags & SECOND_FIELD != 0))

    @cached_property
    def leading(self) -> np.ndarray:
        """bool (n,): shown before the last packet where decoding can start, so it depends on earlier packets."""
        starts = np.where(self.flags & KEY != 0, np.arange(len(self)), -1)
        last_start = np.maximum.accumulate(starts)
        return (last_start >= 0) & (self.ticks < self.ticks[last_start])

    @cached_property
    def interval(self) -> int:
        """The usual time from one frame to the next, in units of the time base; 0 if there is only one frame."""
        return int(np.median(np.diff(self.timeline))) if len(self.timeline) > 1 else 0

    @cached_property
    def start(self) -> int:
        return int(self.timeline[0])

    @cached_property
    def end(self) -> int:
        """When the last frame ends."""
        last = self.last_duration if self.last_duration > 0 else self.interval
        return int(self.timeline[-1]) + max(1, last)

    def to_bytes(self) -> bytes:
        """All arrays, one after another, little-endian."""
        return b"".join(np.ascontiguousarray(getattr(self, name), dtype).tobytes() for name, dtype in _COLUMNS)

    @classmethod
    def from_bytes(cls, data: bytes, *, last_duration: int, ordinal: bool) -> PacketIndex:
        """The inverse of `to_bytes`.

        Raises:
            ValueError: `data` is not a whole number of packets.
        """
        count, rest = divmod(len(data), PACKET_BYTES)
        if rest:
            raise ValueError(f"not a packet index: {len(data)} bytes, expected a multiple of {PACKET_BYTES}")
        arrays, offset = {}, 0
        for name, dtype in _COLUMNS:
            arrays[name] = np.frombuffer(data, dtype, count, offset=offset)
            offset += arrays[name].nbytes
        return cls(**arrays, last_duration=last_duration, ordinal=ordinal)
