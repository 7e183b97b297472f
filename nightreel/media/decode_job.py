"""From timestamps to the least decoding that yields their frames exactly. Pure functions over a probe's packet index.

Called by `sandbox`, outside; carried out by `decoding`, inside. A decode plan is a list of runs: stretches of
packets, each starting where decoding can start and ending at the last wanted frame that needs it. What lies between
runs is read past or sought over, never decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from nightreel.media.packets import CORRUPT, KEY, LOST_BEFORE, NO_PTS, UNREFERENCED, PacketIndex
from nightreel.media.probe import Probe

_MOST_PACKETS = 500_000  # of one job: a message of some 20 MB
_STALE = 1.5  # usual intervals between frames


class Packet(NamedTuple):
    """What a packet is to be known by, and what is known of it."""

    pts: int
    size: int
    is_start: bool  # decoding can start here
    is_spare: bool  # no other picture needs it
    is_damaged: bool
    lost_before: bool  # packets before it, or part of it, could not be read


@dataclass(frozen=True, slots=True)
class Run:
    """Packets `first` to `last`, both included, in decoding order; `skip_before` is the presentation time before which
    pictures of this run refer to what is not decoded (leading pictures of an open GOP)."""

    first: int
    last: int
    skip_before: int


@dataclass(frozen=True)
class DecodeJob:
    """All that `decoding` needs, as JSON values.

    Args:
        frames: numbers of the wanted frames in presentation order, ascending.
        ticks: when each is shown, units of the time base.
        stale: whether a frame stands in for one that could not be read from the file.
        runs: none where only decoding from the very start is exact, or the plan would be too long to send.
        packets: of the runs, in order.
        width, height: of the pictures to return, upright; source_pixels: of a stored one;
            max_pixels: of any that may be decoded.
    """

    decoder: str
    stream_index: int
    rotation: int
    hdr: str | None
    ordinal: bool
    frame_count: int
    source_pixels: int
    max_pixels: int
    width: int
    height: int
    frames: tuple[int, ...]
    ticks: tuple[int, ...]
    stale: tuple[bool, ...]
    runs: tuple[Run, ...]
    packets: tuple[Packet, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> DecodeJob:
        runs = tuple(Run(**run) for run in values["runs"])
        packets = tuple(Packet(*packet) for packet in values["packets"])
        arrays = {name: tuple(values[name]) for name in ("frames", "ticks", "stale")}
        return cls(**{**values, **arrays, "runs": runs, "packets": packets})


def plan_job(
    probe: Probe, moments_s: Sequence[float], *, short_side: int | None, max_pixels: int = 2**31 - 1
) -> DecodeJob:
    """The job that returns the frames on show at `moments_s` (seconds after the first frame), each once."""
    index = probe.index
    on_show = frames_on_show(probe.frame_times_s, moments_s)
    frames = np.unique(on_show)
    stale = on_show[_in_a_gap(probe, on_show, moments_s)]
    runs = [] if index.ordinal else decode_runs(index, index.positions[frames])
    if sum(run.last - run.first for run in runs) > _MOST_PACKETS:
        runs = []
    width, height = fit(*probe.shown_size, short_side=short_side)
    return DecodeJob(
        decoder=probe.decoder,
        stream_index=probe.stream_index,
        rotation=probe.rotation,
        hdr=probe.hdr,
        ordinal=index.ordinal,
        frame_count=probe.frame_count,
        source_pixels=probe.width * probe.height,
        max_pixels=max_pixels,
        width=width,
        height=height,
        frames=tuple(frames.tolist()),
        ticks=tuple(index.timeline[frames].tolist()),
        stale=tuple(np.isin(frames, stale).tolist()),
        runs=tuple(runs),
        packets=tuple(packet for run in runs for packet in _packets_of(index, run)),
    )


def _packets_of(index: PacketIndex, run: Run) -> list[Packet]:
    span = slice(run.first, run.last + 1)
    flags = [index.flags[span] & flag != 0 for flag in (KEY, UNREFERENCED, CORRUPT, LOST_BEFORE)]
    columns = (index.pts[span], index.size[span], *flags)
    return [Packet(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def frames_on_show(frame_times_s: np.ndarray, moments_s: Sequence[float]) -> np.ndarray:
    """For each moment the number of the frame whose presentation interval holds it.

    A moment before the first frame takes the first; one after the last takes the last.

    >>> frames_on_show(np.array([0.0, 0.04, 0.08]), [0.05, 0.01, 9.0, 0.079]).tolist()
    [1, 0, 2, 1]
    """
    grain = 1e-6  # seconds; clocks tick coarser, so that a moment computed onto a frame's start is not put before it
    found = np.searchsorted(frame_times_s, np.asarray(moments_s) + grain, side="right") - 1
    return np.clip(found, 0, len(frame_times_s) - 1)


def _in_a_gap(probe: Probe, frames: np.ndarray, moments_s: Sequence[float]) -> np.ndarray:
    """bool, for each moment: frames before the next one are lost, and the one on show is older than usual by half."""
    times_s, index = probe.frame_times_s, probe.index
    if len(times_s) < 2 or index.ordinal:
        return np.zeros(len(frames), dtype=bool)
    following = np.minimum(frames + 1, len(times_s) - 1)
    lost = index.flags[index.positions[following]] & LOST_BEFORE != 0
    usual_s = float(np.median(np.diff(times_s)))
    return np.asarray(lost & (np.asarray(moments_s) - times_s[frames] > _STALE * usual_s))


def decode_runs(index: PacketIndex, wanted: np.ndarray) -> list[Run]:
    """The runs that decode the packets at positions `wanted`.

    A frame is decoded from the nearest start before it in decoding order whose own picture is not shown after it: from
    an open GOP's start, pictures that are shown before it still refer to the GOP before.
    """
    starts = np.flatnonzero(index.flags & KEY)
    runs: list[Run] = []
    for position in np.sort(wanted).tolist():
        first = _start_of(index, starts, position)
        while runs and first <= runs[-1].last:  # a leading picture's start may lie before those of runs already made
            first = min(first, runs.pop().first)
        runs.append(Run(first, position, int(index.pts[first]) if first else NO_PTS))
    return runs


def _start_of(index: PacketIndex, starts: np.ndarray, position: int) -> int:
    nearest = int(np.searchsorted(starts, position, side="right")) - 1
    for start in starts[max(0, nearest - 1) : nearest + 1][::-1].tolist():
        if index.pts[start] <= index.pts[position]:
            return int(start)
    return int(starts[max(0, nearest - 1)]) if nearest > 0 else 0


def fit(width: int, height: int, *, short_side: int | None) -> tuple[int, int]:
    """The size whose shorter side is `short_side`, aspect kept; never larger than the source.

    >>> fit(1920, 1080, short_side=448)
    (796, 448)
    >>> fit(320, 180, short_side=448)
    (320, 180)
    """
    shorter = min(width, height)
    if short_side is None or shorter <= short_side:
        return width, height
    return max(1, round(width * short_side / shorter)), max(1, round(height * short_side / shorter))
