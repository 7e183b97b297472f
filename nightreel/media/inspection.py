"""Inspect an untrusted file and choose a decoder that is exact for it. Decodes only one picture.

Runs in the sandbox; called by `decoder_process`. All other code gets a `Probe` from `DecoderPool.probe`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from nightreel.errors import PermanentError
from nightreel.media.bitstream import nal_length_size, traits
from nightreel.media.demuxing import (
    Log,
    complaints,
    is_avi,
    is_memory_error,
    is_mp4,
    limit_decoder,
    open_container,
    packets_of,
)
from nightreel.media.packets import (
    CORRUPT,
    DISCARD,
    FALSE_KEY,
    HIDDEN,
    KEY,
    LOST_BEFORE,
    MISSING_PTS,
    NO_PTS,
    UNREFERENCED,
    PacketIndex,
)
from nightreel.media.probe import MediaLimits, Probe
from nightreel.media.refusals import explain_refusal, is_encrypted_mp4, refuse_by_content
from nightreel.reasons import Reason

_DECORD_CONTAINERS = frozenset({"mov", "matroska", "flv"})
_WORTH_LEAVING_OUT = 0.05  # of all frames: PyAV can skip frames that no wanted frame refers to, decord cannot
_DECORD_CODECS = frozenset({"h264", "mpeg4", "vp9"})
# AVI stores no presentation times. For these codings only decoding reveals the order of pictures.
_REORDERED_IN_AVI = frozenset({"h264", "hevc"})
_VARIABLE_FPS = 0.1  # of the median interval; less is the rounding of the container's clock
_FIRST_FRAME_PACKETS = 100
_EXTREME_ASPECT = 4
_HDR_TRANSFERS = {16: "pq", 18: "hlg"}  # ITU-T H.273 table 3


def probe_file(path: Path, limits: MediaLimits) -> Probe:
    """Open `path`, choose its video stream and walk through its packets.

    Raises:
        PermanentError: with the file's own reason; see `refusals` for files that are not videos.
    """
    size_bytes = path.stat().st_size
    limits.check("bytes", size_bytes, f"{path.name}: the size in bytes is")
    refuse_by_content(path, gif=limits.gif)
    with complaints() as said, open_container(path, max_pixels=limits.max_pixels) as container:
        limits.check("streams", len(container.streams), f"{path.name}: the number of streams is")
        _refuse_too_large(said, limits, path)
        stream = _choose_stream(container, path)
        context = stream.codec_context
        limits.check("pixels", context.width * context.height,
                     f"{path.name}: the picture size in pixels is {context.width} x {context.height} =")  # fmt: skip
        if container.duration:
            limits.check("duration_s", container.duration / av.time_base, f"{path.name}: the duration in seconds is")
        index = _read_packets(container, stream, said, max_frames=limits.max_frames)
        expected = stream.frames or None
        if not len(index):
            promise = f"{expected} frames" if expected else "a video stream"
            reason = Reason.MEDIA_DATA_MISSING if expected else Reason.NO_FRAMES
            raise PermanentError(reason, f"{path.name} promises {promise} but holds no frames: repeat the upload")
        if not len(index.shown):
            raise PermanentError(Reason.NO_FRAMES, f"{path.name}: none of its {len(index)} frames is shown")
        frame = _first_frame(path, stream.index, limits)
        if not frame and not context.width * context.height:
            raise PermanentError(Reason.DAMAGED, f"{path.name}: no picture decodes, and the picture size is not known")
        probe = _describe(container, stream, index, frame, size_bytes=size_bytes)
    limits.check("duration_s", probe.duration_s or 0.0, f"{path.name}: the duration in seconds is")
    return probe


def _choose_stream(container: InputContainer, path: Path) -> VideoStream:
    """Choose the stream that ffmpeg's `av_find_best_stream` chooses, ignoring cover pictures and unknown codecs.

    Raises:
        PermanentError: `no_video_stream`, `no_decoder` or `encrypted`.
    """
    if not container.streams:
        raise explain_refusal(path, "it has no streams")
    videos = list(container.streams.video)
    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    films = [stream for stream in videos if not stream.disposition & pictures]
    if not films:
        kinds = sorted({stream.type for stream in container.streams if stream.type != "video"})
        has = " and ".join([f"{kind} streams" for kind in kinds] + ["a cover picture"] * bool(videos)) or "no streams"
        raise PermanentError(Reason.NO_VIDEO_STREAM, f"{path.name} has {has} and no video")
    if is_encrypted_mp4(path):
        raise PermanentError(Reason.ENCRYPTED, f"{path.name} is encrypted (DRM): only its owner's player can decode it")
    decodable = [stream for stream in films if stream.codec_context is not None]
    if not decodable:
        tag = _codec_tag(container)
        raise PermanentError(Reason.NO_DECODER, f"{path.name}: no decoder for codec {tag}: convert it to H.264 first")
    best = container.streams.best("video")
    if best in decodable:
        return best
    return max(decodable, key=lambda stream: (stream.width * stream.height, -stream.index))


def _codec_tag(container: InputContainer) -> str:
    """The container's four-letter name of a codec that ffmpeg does not know. PyAV gives it only in this dump."""
    av.logging.set_level(av.logging.INFO)
    try:
        dump = container.dumps_format()  # type: ignore[attr-defined]  # missing from the stubs
        tag = re.search(r"\((\S{1,8}) / 0x", dump)
    finally:
        av.logging.set_level(av.logging.ERROR)
    return repr(tag.group(1)) if tag else "of an unknown kind"


def _describe(
    container: InputContainer, stream: VideoStream, index: PacketIndex, frame: VideoFrame | None, *, size_bytes: int
) -> Probe:
    context = stream.codec_context
    width, height = (frame.width, frame.height) if frame else (context.width, context.height)
    rotation = _upright_rotation(frame) if frame else 0
    tick = Fraction(stream.time_base or Fraction(1, 1000))
    duration_s = float((index.end - index.start) * tick)
    intervals = np.diff(index.timeline)
    spread = int(np.ptp(intervals)) if len(intervals) else 0
    edited = bool((index.flags & DISCARD).any())
    probe = Probe(
        container=container.format.name.split(",")[0],
        codec=context.codec.canonical_name,
        profile=context.profile,
        pixel_format=frame.format.name if frame else context.pix_fmt,
        width=height if rotation % 180 else width,
        height=width if rotation % 180 else height,
        rotation=rotation,
        pixel_aspect=_pixel_aspect(stream, rotation),
        duration_s=duration_s,
        frame_count=len(index.timeline),
        fps=len(index.timeline) / duration_s if duration_s > 0 else float(stream.average_rate or 1),
        variable_fps=spread > 2 and spread > _VARIABLE_FPS * float(np.median(intervals)),
        time_base=f"{tick.numerator}/{tick.denominator}",
        start_s=float(index.start * tick),
        edited=edited,
        discarded_frames=int(np.count_nonzero(index.flags & DISCARD)),
        damaged_packets=int(np.count_nonzero(index.flags & CORRUPT)),
        truncated=index.truncated,
        missing_pts=int(np.count_nonzero(index.flags & MISSING_PTS)),
        expected_frames=stream.frames or None,
        hdr=_HDR_TRANSFERS.get(int(frame.color_trc)) if frame else None,
        size_bytes=size_bytes,
        streams=len(container.streams),
        stream_index=stream.index,
        decoder="pyav",
        decoder_reason="",
        index=index,
    )
    decoder, reason = _verdict(probe)
    return replace(probe, decoder=decoder, decoder_reason=reason)


def _first_frame(path: Path, stream_index: int, limits: MediaLimits) -> VideoFrame | None:
    """The first frame that decodes. Only a decoded picture shows rotation, true size and transfer function.

    Raises:
        PermanentError: `limit_pixels` when its true size exceeds the limit, though the size in the container does not.
    """
    with complaints() as said, open_container(path, max_pixels=limits.max_pixels) as container:
        stream = cast(VideoStream, container.streams[stream_index])
        limit_decoder(stream.codec_context, max_pixels=limits.max_pixels)
        reads = islice(packets_of(container, stream, said), _FIRST_FRAME_PACKETS)
        for packet in chain((read.packet for read in reads), [None]):
            said.clear()
            try:
                for frame in stream.decode(packet):
                    return frame
            except av.error.EOFError:
                return None
            except av.error.FFmpegError as error:
                if is_memory_error(error):
                    raise
            _refuse_too_large(said, limits, path)
    return None


def _refuse_too_large(said: Log, limits: MediaLimits, path: Path) -> None:
    """Raise if a decoder with the limit set refused a picture for its size."""
    for _, _, message in said:
        if refused := re.match(r"Picture size (\d+)x(\d+) is invalid", message):
            width, height = map(int, refused.groups())
            limits.check("pixels", width * height, f"{path.name}: the picture size in pixels is {width} x {height} =")


def _upright_rotation(frame: VideoFrame) -> int:
    """Degrees counter-clockwise to turn `frame` by, to the nearest quarter; 0 where the file's matrix is invalid."""
    degrees = frame.rotation
    return round(degrees / 90) % 4 * 90 if -360 <= degrees <= 360 else 0


def _pixel_aspect(stream: VideoStream, rotation: int) -> float:
    """Width over height of a pixel, upright; 1 where the file gives none or an extreme value."""
    aspect = float(stream.sample_aspect_ratio or 1)
    if not 1 / _EXTREME_ASPECT <= aspect <= _EXTREME_ASPECT:
        return 1.0
    return 1 / aspect if rotation % 180 else aspect


def _verdict(probe: Probe) -> tuple[str, str]:
    """The decoder and why: decord where it is exact and PyAV would not save work, else PyAV."""
    obstacles = {
        f"container {probe.container}": probe.container not in _DECORD_CONTAINERS,
        f"codec {probe.codec}": probe.codec not in _DECORD_CODECS,
        f"pixel format {probe.pixel_format}": probe.pixel_format not in ("yuv420p", "yuvj420p"),
        "frames hidden by an edit list": probe.edited,
        "hidden frames stored as packets": bool((probe.index.flags & HIDDEN).any()),
        "missing or repeated timestamps": probe.index.ordinal,
        "open groups of pictures": bool(probe.index.leading.any()),
        "false keyframes": bool((probe.index.flags & FALSE_KEY).any()),
        "lost packets": bool((probe.index.flags & LOST_BEFORE).any()),
        "damaged packets": probe.damaged_packets > 0,
        "fewer frames than promised": probe.expected_frames not in (None, len(probe.index)),
        f"rotated by {probe.rotation} degrees": probe.rotation != 0,
    }
    found = [name for name, present in obstacles.items() if present]
    if found:
        return "pyav", "decord is not exact on: " + ", ".join(found)
    unreferenced = float(np.mean(probe.index.flags & UNREFERENCED != 0))
    if unreferenced > _WORTH_LEAVING_OUT:
        return "pyav", f"decord is exact too, but cannot skip the {unreferenced:.0%} of frames that no other refers to"
    return "decord", f"exact: {probe.codec} in {probe.container}, every packet is a frame with its own time"


def _read_packets(container: InputContainer, stream: VideoStream, said: Log, *, max_frames: int) -> PacketIndex:
    """Read all packets of `stream` from the container's current position, which is its start.

    Stops silently at a read error: the file holds only the packets before it.

    Raises:
        PermanentError: `limit_frames`.
    """
    codec = stream.codec_context.codec.canonical_name
    length_size = nal_length_size(codec, stream.codec_context.extradata)
    rows: list[tuple[int, int, int, int]] = []
    last_pts, last_duration, packed = NO_PTS, 0, False
    for read in packets_of(container, stream, said):
        packet = read.packet
        if len(rows) >= max_frames:
            raise PermanentError(
                Reason.LIMIT_FRAMES, f"more than {max_frames} frames: raise NIGHTREEL_MAX_FRAMES to accept the video"
            )
        about = traits(codec, memoryview(packet), is_key=packet.is_keyframe, length_size=length_size)
        pts = NO_PTS if packet.pts is None else packet.pts
        flags = (
            KEY * about.starts_clean
            | DISCARD * packet.is_discard
            | CORRUPT * (read.doubtful or not about.intact)
            | LOST_BEFORE * (read.doubtful or read.lost_before)
            | HIDDEN * (not about.shown)
            | MISSING_PTS * (packet.pts is None)
            | UNREFERENCED * about.unreferenced
            | FALSE_KEY * (packet.is_keyframe and not about.starts_clean)
        )
        rows.append((pts, NO_PTS if packet.dts is None else packet.dts, packet.size, flags))
        packed |= about.packed
        if pts >= last_pts and not flags & (DISCARD | HIDDEN):
            last_pts, last_duration = pts, packet.duration or 0
    truncated = any(name == container.format.name for _, name, _ in said)
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    shown_pts = table[table[:, 3] & (DISCARD | HIDDEN) == 0, 0]
    ordinal = bool((shown_pts == NO_PTS).any()) or len(np.unique(shown_pts)) < len(shown_pts)
    if is_avi(container):
        reordered = bool((table[:, 3] & UNREFERENCED).any())
        harmed = bool((table[:, 3] & (CORRUPT | LOST_BEFORE)).any()) or len(table) < stream.frames
        ordinal |= codec in _REORDERED_IN_AVI or (reordered and harmed)  # the AVI demuxer counts packets to get times
    ordinal |= packed
    return PacketIndex(
        pts=table[:, 0].copy(),
        dts=table[:, 1].copy(),
        size=table[:, 2].astype(np.int32),
        flags=table[:, 3].astype(np.uint8),
        last_duration=last_duration,
        ordinal=ordinal,
        truncated=truncated or (is_mp4(container) and len(table) < stream.frames),
    )
