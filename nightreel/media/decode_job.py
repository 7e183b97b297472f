"""Plan the least decoding that yields exactly the frames at given timestamps. Pure functions over a packet index.

`sandbox` calls it outside the sandbox; `decoding` carries the plan out inside. A decode plan is a list of runs. A run
is a stretch of packets: it starts where decoding can start and ends at the last wanted frame that needs it. Packets
between runs are read past or skipped by a seek, never decoded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from nightreel.media.geometry import Geometry
from nightreel.media.packets import CORRUPT, GAP, KEY, LOST_BEFORE, NO_PTS, SECOND_FIELD, UNREFERENCED, PacketIndex
from nightreel.media.probe import Probe

_MOST_PACKETS = 500_000  # of one job: a message of about 20 MB
_TUPLES = ("crop", "stored_hw", "frames", "labels", "ticks", "stale")
# decord's first picture of each run is compared with PyAV's. With fewer frames a run, PyAV alone costs less.
_FRAMES_A_LANDING = 4


class Packet(NamedTuple):
    """A packet that a run expects: `pts` and `size` tell whether it is the right one, the rest describes it."""

    pts: int
    size: int
    tick: int  # when its frame is shown
    owner: int  # position of the packet that identifies its frame: itself, or the first field of the frame
    is_start: bool  # decoding can start here
    is_spare: bool  # no other picture needs it
    is_damaged: bool
    lost_before: bool  # packets before it, or part of it, could not be read


@dataclass(frozen=True, slots=True)
class Run:
    """Packets `first` to `last`, both included, in decoding order.

    Args:
        skip_before: pictures that are shown before this tick (leading pictures of an open GOP) refer to pictures that
            are not decoded.
        frame: number of the frame of packet `first`, in presentation order; None if that packet shows none.
    """

    first: int
    last: int
    skip_before: int
    frame: int | None


@dataclass(frozen=True)
class DecodeJob:
    """Everything that `decoding` needs, as JSON values.

    Args:
        decoder: `decord` only where it is proven for the file, and the proof of each run costs little.
        frames: numbers of the wanted frames in presentation order, ascending.
        labels: positions of their packets; empty if only the number identifies a frame.
        ticks: when each frame is shown, in units of the time base.
        stale: whether a frame stands in for one that could not be read from the file.
        runs: empty where only decoding from the very start is exact, or where the plan would be too long to send.
        packets: the packets of the runs, in order.
        proven_starts: as in `Probe`.
        may_seek: times tell places in the file apart.
        width, height: size of the returned pictures, upright; source_pixels: pixels of a stored picture;
            max_pixels: most pixels of a picture that may be decoded.
        stored_hw: height and width of a stored picture, before it is cut and turned.
    """

    decoder: str
    stream_index: int
    crop: tuple[int, int, int, int]
    rotation: int
    mirrored: bool
    hdr: str | None
    frame_count: int
    source_pixels: int
    max_pixels: int
    width: int
    height: int
    stored_hw: tuple[int, int]
    frames: tuple[int, ...]
    labels: tuple[int, ...]
    ticks: tuple[int, ...]
    stale: tuple[bool, ...]
    proven_starts: bool
    may_seek: bool
    runs: tuple[Run, ...]
    packets: tuple[Packet, ...]

    @property
    def geometry(self) -> Geometry:
        return Geometry(self.crop, self.rotation, self.mirrored)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Frames, height, width and colours of the array for the pictures."""
        return len(self.frames), self.height, self.width, 3

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> DecodeJob:
        runs = tuple(Run(**run) for run in values["runs"])
        packets = tuple(Packet(*packet) for packet in values["packets"])
        arrays = {name: tuple(values[name]) for name in _TUPLES}
        return cls(**{**values, **arrays, "runs": runs, "packets": packets})


def plan_job(
    probe: Probe, moments_s: Sequence[float], *, short_side: int | None, max_pixels: int = 2**31 - 1
) -> DecodeJob:
    """Make the job that returns the frames shown at `moments_s` (seconds after the first frame), each once."""
    index = probe.index
    on_show = frames_on_show(probe.frame_times_s, moments_s)
    frames = np.unique(on_show)
    stale = on_show[_in_a_gap(probe, on_show, moments_s)]
    runs = [] if index.ordinal else decode_runs(index, index.positions[frames])
    if sum(run.last - run.first for run in runs) > _MOST_PACKETS:
        runs = []
    width, height = fit(*probe.shown_size, short_side=short_side)
    proof_is_cheap = len(frames) >= _FRAMES_A_LANDING * len(runs)
    return DecodeJob(
        decoder=probe.decoder if proof_is_cheap else "pyav",
        stream_index=probe.stream_index,
        crop=probe.crop,
        rotation=probe.rotation,
        mirrored=probe.mirrored,
        hdr=probe.hdr,
        frame_count=probe.frame_count,
        source_pixels=math.prod(probe.stored_hw),
        max_pixels=max_pixels,
        width=width,
        height=height,
        stored_hw=probe.stored_hw,
        frames=tuple(frames.tolist()),
        labels=() if index.ordinal else tuple(index.positions[frames].tolist()),
        ticks=tuple(index.timeline[frames].tolist()),
        stale=tuple(np.isin(frames, stale).tolist()),
        proven_starts=probe.proven_starts,
        may_seek=not probe.clock_breaks and not probe.missing_pts,
        runs=tuple(runs),
        packets=tuple(packet for run in runs for packet in _packets_of(index, run)),
    )


def _packets_of(index: PacketIndex, run: Run) -> list[Packet]:
    span = slice(run.first, run.last + 1)
    flags = [index.flags[span] & flag != 0 for flag in (KEY, UNREFERENCED, CORRUPT, LOST_BEFORE)]
    columns = (index.pts[span], index.size[span], index.ticks[span], index.owners[span], *flags)
    return [Packet(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def frames_on_show(frame_times_s: np.ndarray, moments_s: Sequence[float]) -> np.ndarray:
    """For each moment, the number of the frame whose presentation interval contains it.

    A moment before the first frame gets the first frame; a moment after the last frame gets the last.

    >>> frames_on_show(np.array([0.0, 0.04, 0.08]), [0.05, 0.01, 9.0, 0.079]).tolist()
    [1, 0, 2, 1]
    """
    grain = 1e-6  # seconds, finer than clocks: rounding must not move a moment at a frame's start before that frame
    found = np.searchsorted(frame_times_s, np.asarray(moments_s) + grain, side="right") - 1
    return np.clip(found, 0, len(frame_times_s) - 1)


def _in_a_gap(probe: Probe, frames: np.ndarray, moments_s: Sequence[float]) -> np.ndarray:
    """bool for each moment: frames before the next one are lost, and the shown one is older than `GAP`."""
    times_s, index = probe.frame_times_s, probe.index
    if len(times_s) < 2 or index.ordinal:
        return np.zeros(len(frames), dtype=bool)
    following = np.minimum(frames + 1, len(times_s) - 1)
    lost = index.flags[index.positions[following]] & LOST_BEFORE != 0
    usual_s = index.interval * probe.seconds_per_tick
    return np.asarray(lost & (np.asarray(moments_s) - times_s[frames] > GAP * usual_s))


def decode_runs(index: PacketIndex, wanted: np.ndarray) -> list[Run]:
    """The runs that decode the frames of the packets at positions `wanted`.

    Decoding of a frame starts at the nearest start before it in decoding order whose own picture is not shown after
    it. Pictures that are shown before the start of an open GOP still refer to the previous GOP. A run that ends with a
    first field goes on to the second one.
    """
    starts = np.flatnonzero(index.flags & KEY)
    spans: list[tuple[int, int]] = []
    for position in np.sort(wanted).tolist():
        first, last = _start_of(index, starts, position), position
        if last + 1 < len(index) and index.flags[last + 1] & SECOND_FIELD:
            last += 1
        while spans and first <= spans[-1][1]:  # a leading picture may start before existing runs
            first = min(first, spans.pop()[0])
        spans.append((first, last))
    return [
        Run(first, last, int(index.ticks[first]) if first else NO_PTS, _frame_of(index, first)) for first, last in spans
    ]


def _frame_of(index: PacketIndex, position: int) -> int | None:
    """The number of the frame that the packet at `position` shows; None if it shows none."""
    number = int(np.searchsorted(index.timeline, index.ticks[position]))
    return number if number < len(index.positions) and index.positions[number] == position else None


def _start_of(index: PacketIndex, starts: np.ndarray, position: int) -> int:
    nearest = int(np.searchsorted(starts, position, side="right")) - 1
    for start in starts[max(0, nearest - 1) : nearest + 1][::-1].tolist():
        if index.ticks[start] <= index.ticks[position]:
            return int(start)
    return int(starts[max(0, nearest - 1)]) if nearest > 0 else 0


def fit(width: int, height: int, *, short_side: int | None) -> tuple[int, int]:
    """The size whose shorter side is `short_side`, with the same aspect ratio; never larger than the source.

    >>> fit(1920, 1080, short_side=448)
    (796, 448)
    >>> fit(320, 180, short_side=448)
    (320, 180)
    """
    shorter = min(width, height)
    if short_side is None or shorter <= short_side:
        return width, height
    return max(1, round(width * short_side / shorter)), max(1, round(height * short_side / shorter))
