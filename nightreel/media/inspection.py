"""Inspect an untrusted file and choose a decoder that is exact for it. Decodes only its first few pictures.

Runs in the sandbox; called by `decoder_process`. All other code gets a `Probe` from `DecoderPool.probe`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from nightreel.errors import PermanentError
from nightreel.media.decord_reader import agrees_on_times
from nightreel.media.demuxing import Log, complaints, open_container
from nightreel.media.extent import expected_s, lost_spans
from nightreel.media.geometry import crop_in_dump, fitting_crop, orientation_of
from nightreel.media.indexing import StreamIndex, index_stream
from nightreel.media.media_file import MediaFile
from nightreel.media.packets import (
    CORRUPT,
    DISCARD,
    FALSE_KEY,
    HIDDEN,
    LOST_BEFORE,
    MISSING_PTS,
    SECOND_FIELD,
    UNREFERENCED,
)
from nightreel.media.pixels import settle_colours
from nightreel.media.probe import MediaLimits, Probe
from nightreel.media.refusals import explain_no_frames, explain_refusal, refuse_by_content, refuse_encrypted
from nightreel.media.side_data import display_matrix
from nightreel.reasons import Reason

_DECORD_CONTAINERS = frozenset({"mov", "matroska", "flv"})
_WORTH_LEAVING_OUT = 0.05  # of all frames: PyAV can skip frames that no wanted frame refers to, decord cannot
_DECORD_CODECS = frozenset({"h264", "mpeg4", "vp9"})
_VARIABLE_FPS = 0.1  # of the median interval; less is the rounding of the container's clock
_EXTREME_ASPECT = 4
_HDR_TRANSFERS = {16: "pq", 18: "hlg"}  # ITU-T H.273 table 3
_MOST_BREAKS_TOLD = 20


def probe_file(file: MediaFile, limits: MediaLimits) -> Probe:
    """Open `file`, choose its video stream, walk through its packets and decode its first pictures.

    Raises:
        PermanentError: with the file's own reason; see `refusals` for files that are not videos.
    """
    size_bytes = file.size_bytes
    limits.check("bytes", size_bytes, f"{file.name}: the size in bytes is")
    refuse_by_content(file, gif=limits.gif)
    with complaints() as said, open_container(file, max_pixels=limits.max_pixels) as container:
        limits.check("streams", len(container.streams), f"{file.name}: the number of streams is")
        opening = list(said)
        stream = _choose_stream(container, file)
        read = index_stream(file, container, stream, said, max_frames=limits.max_frames, max_pixels=limits.max_pixels)
        if not len(read.index):
            promised_s = (container.duration or 0) / av.time_base
            raise explain_no_frames(file, promised_frames=stream.frames, promised_s=promised_s)
        if not len(read.index.shown):
            raise PermanentError(Reason.NO_FRAMES, f"{file.name}: none of its {len(read.index)} frames is shown")
        if not read.head.frame:
            _refuse_too_large([*opening, *read.head.said], limits, file)
            if not stream.codec_context.width * stream.codec_context.height:
                detail = "no picture decodes, and the picture size is not known"
                raise PermanentError(Reason.DAMAGED, f"{file.name}: {detail}")
        else:
            settle_colours(read.head.frame)
        probe = _describe(file, container, stream, read, size_bytes=size_bytes)
    limits.check("duration_s", probe.duration_s or 0.0, f"{file.name}: the duration in seconds is")
    return _with_decoder(file, probe)


def _choose_stream(container: InputContainer, file: MediaFile) -> VideoStream:
    """Choose the stream that ffmpeg's `av_find_best_stream` chooses, ignoring cover pictures and unknown codecs.

    Raises:
        PermanentError: `no_video_stream`, `no_decoder` or `encrypted`.
    """
    if not container.streams:
        raise explain_refusal(file, "it has no streams")
    videos = list(container.streams.video)
    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    films = [stream for stream in videos if not stream.disposition & pictures]
    if not films:
        kinds = sorted({stream.type for stream in container.streams if stream.type != "video"})
        has = " and ".join([f"{kind} streams" for kind in kinds] + ["a cover picture"] * bool(videos)) or "no streams"
        raise PermanentError(Reason.NO_VIDEO_STREAM, f"{file.name} has {has} and no video")
    refuse_encrypted(file)
    decodable = [stream for stream in films if stream.codec_context is not None]
    if not decodable:
        tag = _codec_tag(container)
        raise PermanentError(Reason.NO_DECODER, f"{file.name}: no decoder for codec {tag}: convert it to H.264 first")
    best = container.streams.best("video")
    if best in decodable:
        return best
    return max(decodable, key=lambda stream: (stream.width * stream.height, -stream.index))


def _codec_tag(container: InputContainer) -> str:
    """The container's four-letter name of a codec that ffmpeg does not know."""
    tag = re.search(r"\((\S{1,8}) / 0x", _dump(container))
    return repr(tag.group(1)) if tag else "of an unknown kind"


def _dump(container: InputContainer) -> str:
    """ffmpeg's description of a file. PyAV gives some facts only there."""
    return str(container.dumps_format())  # type: ignore[attr-defined]  # missing from the stubs


def _describe(
    file: MediaFile, container: InputContainer, stream: VideoStream, read: StreamIndex, *, size_bytes: int
) -> Probe:
    context, index, frame = stream.codec_context, read.index, read.head.frame
    width, height = (frame.width, frame.height) if frame else (context.width, context.height)
    rotation, mirrored = _orientation(frame) if frame else (0, False)
    crop = fitting_crop(crop_in_dump(_dump(container), stream.index), width, height)
    width, height = width - crop[0] - crop[2], height - crop[1] - crop[3]
    tick = Fraction(stream.time_base or Fraction(1, 1000))
    duration_s = float((index.end - index.start) * tick)
    intervals = np.diff(index.timeline)
    spread = int(np.ptp(intervals)) if len(intervals) else 0
    return Probe(
        container=container.format.name.split(",")[0],
        codec=context.codec.canonical_name,
        profile=context.profile,
        pixel_format=frame.format.name if frame else context.pix_fmt,
        width=height if rotation % 180 else width,
        height=width if rotation % 180 else height,
        rotation=rotation,
        mirrored=mirrored,
        crop=crop,
        pixel_aspect=_pixel_aspect(stream, rotation),
        duration_s=duration_s,
        expected_s=expected_s(file, container, stream, index, duration_s=duration_s),
        lost=lost_spans(index, tick_s=float(tick)),
        clock_breaks=tuple(
            (float((gap.tick - index.start) * tick), float(gap.jump * tick)) for gap in read.breaks[:_MOST_BREAKS_TOLD]
        ),
        assumed_clock=read.assumed_clock,
        frame_count=len(index.timeline),
        fps=len(index.timeline) / duration_s if duration_s > 0 else float(stream.average_rate or 1),
        variable_fps=spread > 2 and spread > _VARIABLE_FPS * float(np.median(intervals)),
        time_base=f"{tick.numerator}/{tick.denominator}",
        start_s=float(index.start * tick),
        edited=bool((index.flags & DISCARD).any()),
        discarded_frames=int(np.count_nonzero(index.flags & DISCARD)),
        damaged_packets=int(np.count_nonzero(index.flags & CORRUPT)),
        truncated=read.truncated,
        missing_pts=int(np.count_nonzero(index.flags & MISSING_PTS)),
        expected_frames=stream.frames or None,
        proven_starts=read.proven_starts,
        hdr=_HDR_TRANSFERS.get(int(frame.color_trc)) if frame else None,
        size_bytes=size_bytes,
        streams=len(container.streams),
        stream_index=stream.index,
        decoder="pyav",
        decoder_reason="",
        index=index,
    )


def _orientation(frame: VideoFrame) -> tuple[int, bool]:
    matrix = display_matrix(frame)
    return (0, False) if matrix is None else orientation_of(matrix)


def _refuse_too_large(said: Log, limits: MediaLimits, file: MediaFile) -> None:
    """Raise if a decoder with the limit set refused a picture for its size."""
    for _, _, message in said:
        if refused := re.match(r"Picture size (\d+)x(\d+) (?:is invalid|exceeds)", message):
            width, height = map(int, refused.groups())
            limits.check("pixels", width * height, f"{file.name}: the picture size in pixels is {width} x {height} =")


def _pixel_aspect(stream: VideoStream, rotation: int) -> float:
    """Width over height of a pixel, upright; 1 where the file gives none or an extreme value."""
    aspect = float(stream.sample_aspect_ratio or 1)
    if not 1 / _EXTREME_ASPECT <= aspect <= _EXTREME_ASPECT:
        return 1.0
    return 1 / aspect if rotation % 180 else aspect


def _with_decoder(file: MediaFile, probe: Probe) -> Probe:
    """The probe with the decoder and why: decord where it is proven and PyAV would not save work, else PyAV."""
    index = probe.index
    obstacles = {
        "this host cannot restrict decord to one file": file.path is None,
        f"container {probe.container}": probe.container not in _DECORD_CONTAINERS,
        f"codec {probe.codec}": probe.codec not in _DECORD_CODECS,
        f"pixel format {probe.pixel_format}": probe.pixel_format not in ("yuv420p", "yuvj420p"),
        "frames hidden by an edit list": probe.edited,
        "hidden frames stored as packets": bool((index.flags & HIDDEN).any()),
        "fields stored as packets": bool((index.flags & SECOND_FIELD).any()),
        "order or times of frames known only by decoding": index.ordinal or probe.missing_pts > 0,
        "a clock that breaks": bool(probe.clock_breaks),
        "open groups of pictures": bool(index.leading.any()),
        "false keyframes": bool((index.flags & FALSE_KEY).any()),
        "lost packets": bool((index.flags & LOST_BEFORE).any()),
        "damaged packets": probe.damaged_packets > 0,
        "fewer frames than promised": probe.expected_frames not in (None, len(index)),
        "a clean aperture": any(probe.crop),
        f"rotated by {probe.rotation} degrees": probe.rotation != 0,
        "mirrored": probe.mirrored,
    }
    found = [name for name, present in obstacles.items() if present]
    if found:
        return replace(probe, decoder="pyav", decoder_reason="not decord: " + ", ".join(found))
    unreferenced = float(np.mean(index.flags & UNREFERENCED != 0))
    if unreferenced > _WORTH_LEAVING_OUT:
        reason = f"not decord: it cannot skip the {unreferenced:.0%} of frames that no other refers to"
        return replace(probe, decoder="pyav", decoder_reason=reason)
    if not agrees_on_times(file, probe.frame_times_s):
        return replace(probe, decoder="pyav", decoder_reason="not decord: its times of frames differ from the packets'")
    reason = f"{probe.codec} in {probe.container}: every packet is a frame, and decord gives it the same time"
    return replace(probe, decoder="decord", decoder_reason=reason)
