"""Plan a preview of a video: a small film with the frames of some ranges, on the clock of the video. Pure functions.

`sandbox` calls it outside the sandbox; `webm` encodes inside what it planned. A moment of the preview is the same
moment of the video, so a player seeks in one as in the other. Between the ranges the picture is dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from nightreel.media.decode_job import DecodeJob, frames_on_show, plan_job
from nightreel.media.probe import Probe

FRAMES_PER_S = 8
LONGEST_SIDE_PX = 480
RECIPE = f"vp8 {LONGEST_SIDE_PX} px {FRAMES_PER_S} fps 1"
"""Names how a preview is made. Another recipe makes another file: raise the last number with each change."""
MOST_BYTES = 32 * 2**20
_GRAIN = 1e-3  # of a millisecond: rounding must not move a frame to the millisecond before its own
DARK = -1

Range = tuple[float, float]
"""Seconds of the video: the first one, and the one after the last."""


class ShownFrame(NamedTuple):
    """A frame of the preview. `slot`: its place in the decoded frames, or `DARK`. `at_ms`: when it is shown."""

    slot: int
    at_ms: int


@dataclass(frozen=True)
class PreviewPlan:
    """What the sandbox decodes and encodes. `end_ms`: the end of the last frame."""

    job: DecodeJob
    shown: tuple[ShownFrame, ...]
    end_ms: int

    def to_json(self) -> dict[str, Any]:
        return {"job": self.job.to_json(), "shown": self.shown, "end_ms": self.end_ms}


def plan_preview(
    probe: Probe, ranges: Sequence[Range], *, moments_s: Sequence[float] = (), max_pixels: int
) -> PreviewPlan:
    """Plan a preview of `FRAMES_PER_S` frames of each second.

    Args:
        ranges: seconds of the video, in order, without overlaps.
        moments_s: the frames on show then are frames of the preview, too, if they are in the ranges.
        max_pixels: most pixels of a picture that may be decoded.
    """
    moments = [_moments(one, moments_s) for one in ranges]
    job = plan_job(probe, [at for some in moments for at in some], short_side=_short_side(probe), max_pixels=max_pixels)
    slots = {frame: slot for slot, frame in enumerate(job.frames)}
    end_ms = max(_ms(probe.duration_s or 0.0), _ms(ranges[-1][1]))
    shown = [] if ranges[0][0] == 0 else [ShownFrame(DARK, 0)]
    for (start_s, end_s), some in zip(ranges, moments, strict=True):
        for frame in frames_on_show(probe.frame_times_s, some).tolist():
            at_ms = _ms(max(start_s, float(probe.frame_times_s[frame])))
            if not shown or at_ms > shown[-1].at_ms:
                shown.append(ShownFrame(slots[frame], at_ms))
        if shown[-1].at_ms < _ms(end_s) < end_ms:
            shown.append(ShownFrame(DARK, _ms(end_s)))
    return PreviewPlan(replace(job, decoder="pyav"), tuple(shown), max(end_ms, shown[-1].at_ms + 1))


def _moments(one: Range, wanted_s: Sequence[float]) -> list[float]:
    """When the frames of a range are looked up.

    >>> _moments((10.0, 10.3), [9.0, 10.2])
    [10.0, 10.125, 10.2, 10.25]
    """
    start_s, end_s = one
    regular = {start_s + count / FRAMES_PER_S for count in range(math.ceil((end_s - start_s) * FRAMES_PER_S))}
    return sorted(regular | {at for at in wanted_s if start_s <= at < end_s})


def _short_side(probe: Probe) -> int | None:
    shorter, longer = sorted(probe.shown_size)
    return max(2, round(shorter * LONGEST_SIDE_PX / longer)) if longer > LONGEST_SIDE_PX else None


def _ms(seconds: float) -> int:
    return int(seconds * 1000 + _GRAIN)
