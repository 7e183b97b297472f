"""One continuous clock for the packets of a stream, made from the clock that the file has.

A file's clock may restart, fall back or jump ahead: recordings that were joined byte by byte, cells of a VOB, a live
stream after a reconnect. A player then goes on from where it is, and so does this module. Called by `inspection`. Pure
functions over arrays in decoding order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nightreel.media.packets import NO_PTS

# A clock that may jump counts as interrupted by a longer step ahead. ffmpeg's program has the same limit
# (`-dts_delta_threshold`).
_LONGEST_STEP_S = 10.0
_SURE_FALL_S = 1.0  # pictures are reordered by less than that
_MOST_BREAKS = 100_000
_MOSTLY = 0.95
# Of a last frame, in usual intervals, and in seconds: a longer duration is a false claim of the header.
_LONGEST_LAST, _LONGEST_LAST_S = 100, 10.0


@dataclass(frozen=True, slots=True)
class ClockBreak:
    """A place where the file's clock does not go on.

    Args:
        position: of the first packet after it, in decoding order.
        tick: when the first frame after it is shown, on the continuous clock.
        jump: by how much the file's clock moves there beside one frame interval; negative if it falls back.
    """

    position: int
    tick: int
    jump: int


def continuous_ticks(
    pts: np.ndarray, dts: np.ndarray, starts: np.ndarray, shown: np.ndarray, *, ticks_per_s: float, may_jump: bool
) -> tuple[np.ndarray, tuple[ClockBreak, ...]]:
    """When the frame of each packet is shown, on one clock that goes on where the file's clock breaks.

    The file's clock breaks where the decoding time falls back, at a packet where decoding can start or by more than a
    second; and, if it `may_jump`, where the decoding time jumps ahead by more than ten seconds. Elsewhere ticks are
    presentation times.

    Args:
        pts, dts: int64 (n,) in decoding order, NO_PTS where unknown; starts: bool (n,), decoding can start here;
            shown: bool (n,), the packet becomes a frame.
        may_jump: the container gives no duration of a frame (transport streams, FLV). Elsewhere a long step is the
            duration of one frame.

    Returns:
        int64 (n,), NO_PTS where the file gives no time; and the breaks.
    """
    ticks = np.where(pts != NO_PTS, pts, dts)
    clock = np.where(dts != NO_PTS, dts, pts)
    known = np.flatnonzero(clock != NO_PTS)
    if len(known) < 2:
        return ticks, ()
    steps = np.diff(clock[known])
    interval = _usual(steps[steps > 0], otherwise=ticks_per_s / 25)
    falls = (steps < 0) & (starts[known[1:]] | (steps < -_SURE_FALL_S * ticks_per_s))
    jumps = steps > max(_LONGEST_STEP_S * ticks_per_s, 4 * interval) if may_jump else np.zeros(len(steps), dtype=bool)
    first_of_stretch = known[1:][falls | jumps]
    if not len(first_of_stretch) or len(first_of_stretch) > _MOST_BREAKS:
        return ticks, ()
    breaks, shift = [], 0
    edges = [0, *first_of_stretch.tolist(), len(ticks)]
    out = ticks.copy()
    for before, begin, end in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
        earlier = _known(out[before:begin][shown[before:begin]])
        later = _known(ticks[begin:end][shown[begin:end]])
        if not len(earlier) or not len(later):
            continue
        goes_on = int(earlier.max()) + interval
        jump = int(later.min()) + shift - goes_on
        if jump < 0 or jumps[np.searchsorted(known, begin) - 1]:
            shift -= jump
            breaks.append(ClockBreak(begin, goes_on, jump))
        out[begin:end] = np.where(ticks[begin:end] != NO_PTS, ticks[begin:end] + shift, NO_PTS)
    return out, tuple(breaks)


def even_ticks(ticks: np.ndarray, *, interval: int) -> np.ndarray:
    """Ascending times for frames in their order, from times that say little about single frames.

    Args:
        ticks: int64 (k,) of the frames in any order, NO_PTS where unknown.
        interval: of frames, used where no time is known.

    Returns:
        The times, sorted; at a constant interval where a time is missing, and where all but a few are at one: a demuxer
        guessed those few wrong.
    """
    if not len(ticks) or (ticks == NO_PTS).any():
        known = _known(ticks)
        start = int(known.min()) if len(known) else 0
        return start + np.arange(len(ticks), dtype=np.int64) * max(1, interval)
    times = np.sort(ticks)
    intervals = np.diff(times)
    if not len(intervals):
        return times
    usual = int(np.median(intervals))
    even = times[0] + np.arange(len(times), dtype=np.int64) * usual
    return even if abs(int(times[-1] - even[-1])) <= usual and np.mean(intervals == usual) > _MOSTLY else times


def last_duration(claimed: int, *, interval: int, ticks_per_s: float) -> int:
    """The duration of the last frame: as the file claims it, or the usual interval if the claim is absurd."""
    absurd = interval > 0 and claimed > max(_LONGEST_LAST * interval, _LONGEST_LAST_S * ticks_per_s)
    return interval if absurd or claimed <= 0 else claimed


def _usual(steps: np.ndarray, *, otherwise: float) -> int:
    return max(1, int(np.median(steps)) if len(steps) else round(otherwise))


def _known(ticks: np.ndarray) -> np.ndarray:
    return np.asarray(ticks[ticks != NO_PTS])
