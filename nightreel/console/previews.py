"""Which parts of a video its preview has, what the page says of it, and its bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request, Response

from nightreel.api.pictures import analysed
from nightreel.api.previews import PreviewAnswer, PreviewMaker, WantedPreview
from nightreel.api.problems import not_found
from nightreel.console.media import ranged_reply
from nightreel.console.watching import WatchedVideo
from nightreel.media.preview_plan import Range

MOST_S = 60.0
_AROUND_S = 2.0
_MOST_MOMENTS = 240
_TYPE = "video/webm"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPreview:
    """A preview as the page shows it. `ranges`: the seconds of the video that are in it. `whole`: all of them are."""

    answer: PreviewAnswer
    key: str
    ranges: tuple[Range, ...]
    whole: bool


def preview_ranges(
    flagged: Sequence[Range], *, segment: Range, at_s: float | None, duration_s: float
) -> tuple[Range, ...]:
    """The parts of a video that its preview has: at most `MOST_S`, in order, without overlaps.

    They are those around the flags. If the moment on show is in none of them, or there is no flag, it is the segment on
    show instead, `MOST_S` from its start, or the part of that length in a longer one.

    Args:
        flagged: seconds with a flag. segment: the one on show. at_s: the moment on show; None: none was asked for.

    >>> preview_ranges([(40.0, 50.0), (45.0, 55.0)], segment=(0.0, 30.0), at_s=None, duration_s=300.0)
    ((38.0, 57.0),)
    >>> preview_ranges([(40.0, 50.0)], segment=(90.0, 120.0), at_s=95.0, duration_s=300.0)
    ((90.0, 150.0),)
    """
    around: list[Range] = []
    left_s = MOST_S
    for start_s, end_s in sorted(flagged):
        start_s, end_s = max(0.0, start_s - _AROUND_S), min(duration_s, end_s + _AROUND_S)
        if around and start_s <= around[-1][1]:
            start_s, before_s = around.pop()
            left_s += before_s - start_s
            end_s = max(end_s, before_s)
        end_s = min(end_s, start_s + left_s)
        if start_s < end_s:
            around.append((start_s, end_s))
            left_s -= end_s - start_s
    if around and (at_s is None or any(start_s <= at_s < end_s for start_s, end_s in around)):
        return tuple(around)
    start_s, end_s = segment
    if at_s is not None and start_s <= at_s < end_s:
        start_s += (at_s - start_s) // MOST_S * MOST_S
    return ((start_s, min(start_s + MOST_S, max(duration_s, end_s))),)


def wanted_preview(watched: WatchedVideo, at_s: float | None) -> WantedPreview | None:
    """The preview of what is on show; None: the video has no segment with answers."""
    segment = watched.at(at_s or 0.0)
    if segment is None or watched.video["content_sha256"] is None:
        return None
    flagged = [
        (float(start), float(end))
        for one in watched.flags
        if one["found"] == "flagged"
        for start, end in one["ranges"] or []
    ]
    ranges = preview_ranges(
        flagged,
        segment=(segment["start_s"], segment["end_s"]),
        at_s=at_s,
        duration_s=watched.timeline.duration_s,
    )
    looked = sorted({time for one in watched.segments for time in one["frame_times_s"] if _is_in(ranges, time)})
    return WantedPreview(video=analysed(watched.video), ranges=ranges, moments_s=tuple(looked[:_MOST_MOMENTS]))


def shown_preview(maker: PreviewMaker, watched: WatchedVideo, at_s: float | None) -> ShownPreview | None:
    """The preview of what is on show, which is made if it is missing; None as `wanted_preview`."""
    wanted = wanted_preview(watched, at_s)
    if wanted is None:
        return None
    (start_s, end_s), *others = wanted.ranges
    whole = not others and start_s == 0 and end_s >= watched.timeline.duration_s
    return ShownPreview(answer=maker.ask(wanted), key=wanted.key, ranges=wanted.ranges, whole=whole)


def preview_reply(request: Request, maker: PreviewMaker, content_sha256: str | None, key: str) -> Response:
    """The bytes of a preview of this content, by ranges. Raises Problem 404 if there is none."""
    data = maker.store.read(content_sha256, key) if content_sha256 else None
    if data is None:
        raise not_found("there is no such preview: load the page of the video again")
    return ranged_reply(request, _TYPE, len(data), lambda start, end: iter([data[start : end + 1]]))


def _is_in(ranges: Sequence[Range], at_s: float) -> bool:
    return any(start_s <= at_s < end_s for start_s, end_s in ranges)
